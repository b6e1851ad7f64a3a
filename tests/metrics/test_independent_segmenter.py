import hashlib

import numpy as np
import pytest

from medusis_tf.errors import UserError
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.setup import open_extractors
from medusis_tf.metrics.independent_segmenter import (
    IndependentSegmenter,
    SegmenterExtractor,
    SegmenterRecord,
    build_segmenter,
    class_finder,
)
from medusis_tf.models.sections import UNetSegmenterConfig

# NumPy 2 warns of the way in which Keras 3.15 converts variables to arrays.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    record = SegmenterRecord(
        class_names=("background", "fat"),
        image_size=(16, 24),
        spacing_mm=None,
        network=UNetSegmenterConfig(base_channels=2, num_levels=3),
        subjects=("a",),
        steps=0,
        held_out="nothing",
        held_out_dice={},
    )
    path = tmp_path_factory.mktemp("segmenter") / "segmenter.weights.h5"
    IndependentSegmenter(build_segmenter(record), record).save(path)
    return path


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(-1, 1, (11, 16, 24)).astype(np.float32)


def test_a_feature_is_the_mean_of_the_innermost_activation(weights, images, monkeypatch):
    network = IndependentSegmenter.open(weights).network
    taken = []
    innermost = network.decoder[0].call

    def record(features, training=False):
        taken.append(np.asarray(features))
        return innermost(features, training=training)

    monkeypatch.setattr(network.decoder[0], "call", record)
    network(images[..., np.newaxis], training=False)
    [activation] = taken
    assert activation.shape == (11, 2, 3, 8)
    by_hand = [[activation[n, :, :, c].mean() for c in range(8)] for n in range(11)]
    extractor = SegmenterExtractor(weights)
    found = extractor(images)
    assert found.shape == (11, extractor.dimension)
    np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-6)
    assert np.std(found, axis=0).max() > 0


def test_features_do_not_depend_on_other_images(weights, images):
    extractor = SegmenterExtractor(weights)
    np.testing.assert_allclose(extractor(images[9:10]), extractor(images)[9:10], rtol=1e-5)
    assert extractor(images[:0]).shape == (0, extractor.dimension)


def test_the_identity_names_the_weights(weights):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    extractor = SegmenterExtractor(weights, digest.upper())
    assert extractor.identity == {"file": "segmenter.weights.h5", "sha256": digest}
    assert extractor.frechet_name == "Frechet segmenter distance"
    with pytest.raises(UserError, match="not the expected file"):
        SegmenterExtractor(weights, "0" * 64)
    with pytest.raises(UserError, match=r"missing\.json"):
        SegmenterExtractor(weights.with_name("missing.weights.h5"))


def test_weights_add_features_and_a_saved_model_does_not(weights, tmp_path):
    def names(segmenter):
        return [each.name for each in open_extractors(EvaluationOptions(segmenter=segmenter))]

    assert names(weights) == ["radiomics", "segmenter"]
    assert names(tmp_path) == names(None) == ["radiomics"]
    other = EvaluationOptions(segmenter=weights, sha256={weights: "0" * 64})
    with pytest.raises(UserError, match="not the expected file"):
        open_extractors(other)


def test_weights_of_another_network_are_refused_in_one_line(weights, tmp_path):
    record = IndependentSegmenter.open(weights).record
    path = tmp_path / "other.weights.h5"
    changes = (
        {"class_names": ("background", "fat", "bone")},
        {"network": UNetSegmenterConfig(base_channels=4, num_levels=3)},
        {"network": UNetSegmenterConfig(base_channels=2, num_levels=2)},
    )
    for change in changes:
        described = record.model_copy(update=change)
        IndependentSegmenter(build_segmenter(described), described).save(path)
        path.write_bytes(weights.read_bytes())
        with pytest.raises(UserError, match="another architecture or of another number") as raised:
            IndependentSegmenter.open(path)
        assert len(str(raised.value).splitlines()) == 1


def test_weights_that_are_damaged_or_not_finite_are_refused(weights, tmp_path):
    opened = IndependentSegmenter.open(weights)
    path = tmp_path / "bad.weights.h5"
    values = opened.network.get_weights()
    values[0][0] = np.nan
    opened.network.set_weights(values)
    opened.save(path)
    with pytest.raises(UserError, match="not all of its weights are finite"):
        IndependentSegmenter.open(path)
    path.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="truncated file") as raised:
        IndependentSegmenter.open(path)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_compiled_segmenter_finds_the_classes_of_the_network(images, channels):
    network = UNetSegmenterConfig(base_channels=2, num_levels=3).build(4, image_channels=channels)
    find = class_finder(network, channels)
    for _ in range(2):
        logits = np.asarray(network(np.repeat(images[..., np.newaxis], channels, axis=-1)))
        found = find(images)
        np.testing.assert_array_equal(found, logits[..., 1:].argmax(axis=-1))
        assert found.dtype == np.uint8
        network.set_weights([np.roll(weight, 1) for weight in network.get_weights()])
