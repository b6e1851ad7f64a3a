"""Three planes of a volume, upright and radiological for every orientation of the slices."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.config.training import TrainingConfig
from medusis_tf.data.preparing.preparation import slice_in_memory
from medusis_tf.training import volume_panel
from medusis_tf.training.volume_panel import MAX_SLICES, VolumePanel
from tests.data.volume_files import lps_affine, write_nifti
from tests.methods.stub_method import registered_stub, stub_experiment

# LPS: 32 x 36 x 12 voxels of 2 x 2 x 6 mm.
SHAPE, SPACING = (32, 36, 12), (2.0, 2.0, 6.0)
PLANES = ("axial", "coronal", "sagittal")


@pytest.fixture(autouse=True)
def stub():
    with registered_stub():
        yield


def anatomy():
    """A body with fat at the right, a tumour in front and bone at the top."""
    label_map = np.zeros(SHAPE, np.uint8)
    label_map[4:28, 6:30, 1:11] = 2
    label_map[4:8, 6:30, 1:11] = 1
    label_map[8:28, 6:10, 1:11] = 4
    label_map[8:28, 10:30, 9:11] = 3
    return label_map


def open_panel(tmp_path, axis, label_map, monkeypatch, spacing=SPACING, continues_labels=False):
    """The panel of a volume, and the list of what it draws."""
    write_nifti(tmp_path / "a.nii.gz", label_map, lps_affine(spacing), "RAS")
    image = np.random.default_rng(0).normal(size=label_map.shape).astype(np.float32)
    write_nifti(tmp_path / "b.nii.gz", image, lps_affine(spacing))
    data = {
        "root": str(tmp_path),
        "axis": axis,
        "field_of_view_mm": [96, 96],
        "image_size": [48, 48],
    }
    config = stub_experiment(data=data)
    drawn = []
    monkeypatch.setattr(volume_panel, "panel", lambda rows, *_: drawn.append(rows))
    return VolumePanel(config, slice_in_memory(config.data), continues_labels), drawn


def method_of(network):
    return SimpleNamespace(
        shown_networks={"network": network}, painter=SimpleNamespace(noise_shape=(3,)), step=7
    )


def by_class(one_hot, noise, training):
    return tf.cast(tf.argmax(one_hot, -1), tf.float32)[..., tf.newaxis] / 4


@pytest.mark.parametrize("axis", PLANES)
def test_planes_are_upright_and_in_proportion(axis, tmp_path, monkeypatch):
    panel, drawn = open_panel(tmp_path, axis, anatomy(), monkeypatch)
    panel.draw(method_of(by_class))
    [rows] = drawn
    assert [row.title for row in rows] == list(PLANES)
    for row in rows:
        image = row.images["network"]
        body = row.label_map > 0
        np.testing.assert_allclose(image[body], row.label_map[body] / 4)
        ys, xs = np.nonzero(body)
        # 48 x 48 x 60 mm of body in pixels of 2 mm.
        height = 24 if row.title == "axial" else 30
        assert (np.ptp(ys) + 1, np.ptp(xs) + 1) == (height, 24)
        top = row.label_map[ys.min() + 1, xs.max() - 1]
        left = row.label_map[ys.max() - 1, xs.min() + 1]
        assert (top, left) == {"axial": (4, 1), "coronal": (3, 1), "sagittal": (3, 4)}[row.title]


def test_long_volumes_are_thinned_and_share_one_noise(tmp_path, monkeypatch):
    label_map = np.zeros((16, 16, 250), np.uint8)
    label_map[2:14, 2:14, 5:245] = 2
    panel, drawn = open_panel(tmp_path, "axial", label_map, monkeypatch, (4, 4, 1))
    noises = []

    def network(one_hot, noise, training):
        noises.append(noise.numpy())
        return by_class(one_hot, noise, training)

    panel.draw(method_of(network))
    panel.draw(method_of(network))
    used = np.concatenate(noises)
    assert len(used) == 2 * 80 <= 2 * MAX_SLICES
    assert (used == used[0]).all()
    coronal = drawn[0][1].label_map
    ys, xs = np.nonzero(coronal)
    assert np.ptp(ys) + 1 == pytest.approx(240 / 2, abs=2)
    assert np.ptp(xs) + 1 == 48 / 2
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one.images["network"], other.images["network"])


def test_labels_continue_and_images_end_with_the_volume(tmp_path, monkeypatch):
    panel, drawn = open_panel(
        tmp_path, "axial", np.maximum(anatomy(), 1), monkeypatch, continues_labels=True
    )
    seen = []

    def network(one_hot, noise, training):
        seen.append(one_hot.numpy())
        return by_class(one_hot, noise, training)

    panel.draw(method_of(network))
    [rows] = drawn
    # The volume of 32 x 36 voxels ends inside the slices of 48 x 48 pixels.
    assert np.concatenate(seen)[..., 0].max() == 0
    axial = rows[0]
    np.testing.assert_array_equal(axial.images["network"] == -1, axial.label_map == 0)


@pytest.mark.parametrize(
    ("interval", "steps"), [(None, [6]), (0, []), (2, [2, 4, 6]), (4, [4, 6]), (9, [6])]
)
def test_when_a_volume_is_drawn(interval, steps):
    training = TrainingConfig(volume_interval=interval)
    assert [step for step in range(1, 7) if training.draws_volume(step, 6)] == steps
