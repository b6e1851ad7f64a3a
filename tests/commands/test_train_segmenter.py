import json
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.commands.train_segmenter import split_pairs, train_segmenter
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config, save_config
from medusis_tf.metrics.independent_segmenter import IndependentSegmenter
from medusis_tf.studies.mask_loss.phantom_study import phantom_overrides
from tests.command_runner import run_command, user_error

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
# Keras 3.15 converts its variables to arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SMALL = ["data.image_size=[32, 32]", "segmenter={base_channels: 8, num_levels: 3}"]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    overrides = [*phantom_overrides("thin_fat", folder), *SMALL]
    return load_config(QUICKSTART, overrides)


@pytest.fixture(scope="module")
def config_path(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    save_config(config, path)
    return path


@pytest.fixture(scope="module")
def trained(config_path):
    weights = config_path.with_name("segmenter.weights.h5")
    status, printed, _ = run_command(
        train_segmenter, "--config", config_path, "--out", weights, "--steps", 150
    )
    assert status == 0
    return weights, printed


def test_the_segmenter_generalizes_to_held_out_slices(trained, config):
    weights, printed = trained
    record = json.loads(weights.with_name("segmenter.json").read_text())
    assert record["subjects"] == ["ct_0", "ct_1", "ct_2", "ct_3"]
    assert record["class_names"] == [entry.name for entry in config.data.classes]
    assert record["image_size"] == [32, 32]
    assert "middle fifth" in record["held_out"]
    assert min(record["held_out_dice"][name] for name in ("fat", "soft_tissue")) > 0.6
    assert f"wrote {weights}" in printed


def test_the_written_weights_segment_the_test_subject(trained, config):
    segmenter = IndependentSegmenter.open(trained[0])
    segmenter.check_fit(config.data)
    test = prepare_shards(config).read("test_0")
    found = segmenter.read_classes(test.image)
    assert found.dtype == np.uint8
    for class_id in (1, 2):  # fat and soft tissue
        common = ((found == class_id) & (test.label_map == class_id)).sum()
        sizes = (found == class_id).sum() + (test.label_map == class_id).sum()
        assert 2 * common / sizes > 0.6


def test_training_and_held_out_slices_are_disjoint_and_exclude_the_test_subject(config):
    shards = prepare_shards(config)
    training, held_out, _ = split_pairs(shards)

    def as_bytes(images):
        return {image.tobytes() for image in images}

    pairs = [shards.read(entry.subject).image for entry in shards.pairs("train")]
    assert as_bytes(training.image) | as_bytes(held_out.image) == as_bytes(np.concatenate(pairs))
    assert not as_bytes(training.image) & as_bytes(held_out.image)
    test = as_bytes(shards.read("test_0").image)
    assert not test & (as_bytes(training.image) | as_bytes(held_out.image))


def test_incompatible_input_is_reported(trained, config, config_path, tmp_path):
    data = config.data.model_copy(update={"image_size": (64, 64)})
    with pytest.raises(UserError, match="image_size"):
        IndependentSegmenter.open(trained[0]).check_fit(data)
    with pytest.raises(UserError, match=r"nothing\.json"):
        IndependentSegmenter.open(tmp_path / "nothing.weights.h5")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError, match="describes no segmenter"):
        IndependentSegmenter.open(tmp_path / "other.weights.h5")
    message = user_error(train_segmenter, "--config", config_path, "--out", tmp_path / "x.h5")
    assert "NAME.weights.h5" in message
    unpaired = [
        f"data.root={config.data.root}",
        f"data.cache_dir={tmp_path}",
        *SMALL,
    ]
    out = tmp_path / "x.weights.h5"
    message = user_error(train_segmenter, "--config", QUICKSTART, "--out", out, *unpaired)
    assert "no training subject has both" in message
