import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.volumes.nifti import read_label_map
from medusis_tf.errors import UserError
from medusis_tf.serving.exporter import painter_of_run
from medusis_tf.serving.model_folders import find_model
from medusis_tf.serving.predictor import Predictor, SlicePainter
from tests.serving.small_run import SHAPE, make_model, make_predictor, make_run, write_nifti


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_model(tmp_path_factory)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return make_predictor(tmp_path_factory)


@pytest.fixture(scope="module")
def label_map(tmp_path_factory):
    return read_label_map(make_run(tmp_path_factory).parents[1] / "d_labels.nii.gz")


def random_slices(count=3):
    return np.random.default_rng(0).integers(0, 3, (count, 32, 32)).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "noise_shape"), [("image", (4,)), ("classes", (3, 4)), ("none", (0,))]
)
def test_an_exported_model_paints_like_its_run(kind, noise_shape, tmp_path_factory):
    predictor = make_predictor(tmp_path_factory, kind)
    painter = painter_of_run(make_run(tmp_path_factory, kind))
    noise = predictor.draw_noise(3, truncation=1.5)
    assert noise.shape == predictor.metadata.noise_shape == noise_shape
    np.testing.assert_array_equal(painter.draw_noise(3, truncation=1.5), noise)
    expected = painter.paint(random_slices(), noise)
    assert expected.std() > 0.01
    np.testing.assert_allclose(predictor.paint(random_slices(), noise), expected, atol=1e-5)


def test_the_batch_size_does_not_change_images(predictor):
    noise, reported = predictor.draw_noise(0), []
    images = predictor.paint(random_slices(5), noise, 2, lambda *counts: reported.append(counts))
    np.testing.assert_allclose(images, predictor.paint(random_slices(5), noise, 5), atol=1e-6)
    assert reported == [(2, 5), (4, 5), (5, 5)]


def test_small_slices_are_painted_four_at_a_time_on_a_cpu(predictor, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    reported = []
    noise = predictor.draw_noise(0)
    predictor.paint(random_slices(5), noise, progress=lambda *counts: reported.append(counts))
    assert reported == [(4, 5), (5, 5)]


def test_a_volume_has_its_own_grid_and_the_units_of_the_training_images(predictor, label_map):
    array = predictor.synthesize_volume(label_map, seed=1)
    lower, upper = predictor.metadata.intensity.source
    assert (array.shape, array.dtype) == (SHAPE, np.float32)
    assert array.min() >= lower - 1e-3 * (upper - lower)
    assert array.max() <= upper + 1e-3 * (upper - lower)
    np.testing.assert_allclose(array[:, :, 0], lower, rtol=1e-5)  # no foreground there
    assert array[:, :, 1].std() > 0


def test_labels_continue_beyond_the_volume_for_models_trained_with_fields_of_view(
    predictor, label_map
):
    """The labels of the frame are painted, so that no outline arises where the volume ends."""
    painted = []

    def from_noise(label_map, noise):
        painted.append(label_map.numpy())
        return predictor._endpoints["from_noise"](label_map=label_map, noise=noise)

    everywhere = replace(label_map, array=np.ones_like(label_map.array))
    for has_views in (False, True):
        config = {**predictor.metadata.config, "training": {"field_of_view": has_views}}
        metadata = predictor.metadata.model_copy(update={"config": config})
        endpoints = {"draw_noise": predictor._endpoints["draw_noise"], "from_noise": from_noise}
        SlicePainter(endpoints, metadata).synthesize_volume(everywhere, batch_size=64)
    without, with_views = painted
    assert (without == 0).any()
    assert (with_views == 1).all()


def test_all_slices_of_a_volume_have_the_same_noise(predictor, label_map):
    # Slices 1 and 2 of the label map are equal.
    array = predictor.synthesize_volume(label_map, seed=1, batch_size=1)
    np.testing.assert_allclose(array[:, :, 1], array[:, :, 2], rtol=1e-5)


def test_seed_and_truncation_determine_the_volume(predictor, label_map):
    arrays = [
        predictor.synthesize_volume(label_map, seed, truncation)
        for seed, truncation in [(1, np.inf), (1, np.inf), (2, np.inf), (1, 0.0), (2, 0.0)]
    ]
    np.testing.assert_array_equal(arrays[0], arrays[1])
    assert np.abs(arrays[0] - arrays[2]).max() > 1
    np.testing.assert_array_equal(arrays[3], arrays[4])


def test_the_noise_of_a_class_changes_only_slices_with_this_class(tmp_path_factory):
    predictor = make_predictor(tmp_path_factory, "classes")
    without_muscle = np.minimum(random_slices(2), 1)
    noise = predictor.draw_noise(0)
    before = predictor.paint(np.stack([without_muscle[0], random_slices()[2]]), noise)
    noise[2] += 1
    after = predictor.paint(np.stack([without_muscle[0], random_slices()[2]]), noise)
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1]).max() > 1e-3


@pytest.mark.parametrize("axes", ["RAS", "SLP", "PIR"])
def test_the_axis_order_of_the_file_does_not_change_the_volume(
    predictor, label_map, axes, tmp_path
):
    write_nifti(tmp_path / "other.nii.gz", label_map.array, axes)
    other = read_label_map(tmp_path / "other.nii.gz")
    np.testing.assert_allclose(
        predictor.synthesize_volume(other), predictor.synthesize_volume(label_map), rtol=1e-4
    )


def test_an_image_that_is_not_finite_is_no_volume(predictor, label_map):
    with pytest.raises(
        UserError, match="is not finite: the weights, the intensity scale or the sampler"
    ):
        predictor.synthesize_volume(label_map, noises=[np.full(4, np.nan, np.float32)])


def test_unknown_class_ids_are_named(predictor, label_map):
    array = label_map.array.copy()
    array[3, 4, 2] = 7
    broken = type(label_map)(array, label_map.affine, label_map.path)
    with pytest.raises(UserError, match=r"d_labels.nii.gz.*7.*slice 2"):
        predictor.synthesize_volume(broken)


def test_an_invalid_saved_model_is_a_user_error(model_dir, tmp_path):
    version = find_model(model_dir)
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"no graph")
    metadata = (version / "assets.extra" / "medusis.json").read_bytes()
    (tmp_path / "assets.extra" / "medusis.json").write_bytes(metadata)
    with pytest.raises(UserError, match=r"cannot load .* as a SavedModel"):
        Predictor(tmp_path)


def cut_variables(version):
    path = version / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:100])


def rename_an_operation(version):
    path = version / "saved_model.pb"
    content = path.read_bytes()
    assert b"\x12\x05Const" in content
    path.write_bytes(content.replace(b"\x12\x05Const", b"\x12\x05Co.st"))


@pytest.mark.parametrize("damage", [cut_variables, rename_an_operation])
def test_a_damaged_saved_model_is_a_user_error(model_dir, tmp_path, damage):
    version = shutil.copytree(find_model(model_dir), tmp_path / "1")
    damage(version)
    with pytest.raises(UserError, match=r"cannot load .* as a SavedModel"):
        Predictor(version)


def test_a_model_gives_the_same_image_without_keras(predictor, model_dir, tmp_path):
    script = """
import sys

blocked = ("keras", "tf_keras", "medusis_tf")
sys.modules.update(dict.fromkeys(blocked))  # importing them raises ModuleNotFoundError
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
label_map = tf.constant(np.load(sys.argv[2]), tf.int32)
image = model.signatures["serving_default"](
    label_map=label_map, seed=tf.constant([[3, 0]] * 3), truncation=tf.constant([1.5] * 3)
)["image"]
np.save(sys.argv[3], image.numpy())
assert not any(name.split(".")[0] in blocked and sys.modules[name] for name in sys.modules)
"""
    np.save(tmp_path / "label_map.npy", random_slices())
    files = [find_model(model_dir), tmp_path / "label_map.npy", tmp_path / "image.npy"]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, files)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = predictor.paint(random_slices(), predictor.draw_noise(3, truncation=1.5))
    np.testing.assert_allclose(np.load(files[2])[..., 0], expected, atol=1e-6)
