"""From volumes to slices: every kind of source, compared with NumPy and SciPy."""

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from tests.data.dicom_files import write_series
from tests.data.small_subjects import (
    AFFINE,
    SHAPE,
    SPACING,
    on_slices,
    prepared,
    record_of,
    small_experiment,
    small_image,
    small_label_map,
    write_cohort,
    write_subject,
)
from tests.data.volume_files import lps_affine, write_nifti

LEVELS = 65535


def test_the_manifest_describes_all_slices_and_sources(tmp_path):
    shards = prepare_shards(
        small_experiment(tmp_path / "root", tmp_path / "cache", write_cohort(tmp_path / "root"))
    )
    firsts = {"label_map": 0, "image": 0, "body_mask": 0}
    for entry in shards.records.subjects:
        slices = shards.read(entry)
        assert entry.num_slices == len(slices.slice_indices) == entry.depth == SHAPE[2]
        assert (entry.volume_shape, entry.volume_spacing_mm) == (SHAPE, SPACING)
        for kind in entry.kinds:
            assert entry.first_record[kind] == firsts[kind]
            firsts[kind] += entry.num_slices
        if slices.label_map is not None:
            counts = np.bincount(slices.label_map.ravel(), minlength=5)
            assert list(entry.class_pixels) == counts.tolist()
        if slices.image is not None:
            assert sum(entry.histogram.counts) == np.prod(SHAPE)
        for source in entry.sources.values():
            content = (tmp_path / "root" / source.path).read_bytes()
            assert source.sha256 == hashlib.sha256(content).hexdigest()
            assert (source.bytes, source.axes) == (len(content), "RAS")
            assert (source.shape, source.spacing_mm) == (SHAPE, SPACING)
    for kind, file in shards.records.files.items():
        content = (shards.folder / file.path).read_bytes()
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert len(content) == file.bytes
        assert len(shards.arrays[kind]) == firsts[kind]


def test_positions_go_from_the_first_to_the_last_foreground(tmp_path):
    label_map = small_label_map(3)
    label_map[:, :, [0, 4, 5]] = 0
    entry = write_subject(tmp_path, "s", kinds="label_map")
    write_nifti(tmp_path / "s/label_map.nii.gz", label_map, AFFINE)
    record = record_of(prepared(tmp_path, [entry]), "s")
    assert record.positions == pytest.approx([-0.5, 0, 0.5, 1, 1.5, 2])
    sparse = record_of(prepared(tmp_path, [entry], minimum_foreground=0.01), "s")
    assert sparse.slice_indices == (1, 2, 3)
    assert sparse.positions == (0, 0.5, 1)


def test_slices_at_the_ends_are_left_out(tmp_path):
    record = record_of(prepared(tmp_path, [], skip_ends=2), "first")
    assert (record.slice_indices, record.depth) == ((2, 3), 6)


def test_native_pixels_are_kept_exactly(tmp_path):
    slices = prepared(tmp_path, [], intensity={"name": "min_max"}).read("first")
    np.testing.assert_array_equal(slices.label_map, on_slices(small_label_map(1)))
    image = small_image(1).astype(np.float64)
    expected = np.interp(image, [image.min(), image.max()], [-1, 1])
    error = slices.image - on_slices(expected + 1) + 1
    assert np.abs(error).max() <= 1.01 / LEVELS


def test_the_body_mask_is_the_foreground_with_holes_filled(tmp_path):
    slices = prepared(tmp_path, []).read("last")
    filled = [ndimage.binary_fill_holes(part > 0) for part in slices.label_map]
    np.testing.assert_array_equal(slices.body_mask, filled)
    assert np.sum(slices.body_mask) > np.sum(slices.label_map > 0)


@given(
    seed=st.integers(0, 2**32 - 1),
    axis=st.sampled_from(["axial", "coronal", "sagittal"]),
    size=st.sampled_from([(32, 32), (64, 32), (32, 96)]),
    field=st.sampled_from([None, (48.0, 48.0), (17.0, 90.0)]),
    axes=st.sampled_from(["LPS", "RAS", "SAR", "PIL"]),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_new_class_appears(tmp_path, seed, axis, size, field, axes):
    random = np.random.default_rng(seed)
    present = random.choice(5, random.integers(1, 5), replace=False)
    label_map = random.choice(present, SHAPE).astype(np.uint8)
    write_nifti(tmp_path / "s/label_map.nii.gz", label_map, AFFINE, axes)
    entry = {"subject": "s", "split": "test", "label_map": "s/label_map.nii.gz"}
    shards = prepared(tmp_path, [entry], axis=axis, image_size=size, field_of_view_mm=field)
    assert set(np.unique(shards.read("s").label_map)) <= {0, *present.tolist()}


MASKS = {"fat": 1, "soft_tissue": 2, "bone": 3}


def test_a_folder_of_one_class_masks_is_a_label_map(tmp_path):
    label_map = small_label_map(5)
    for name, id_ in MASKS.items():
        mask = (label_map == id_).astype(np.uint8)
        write_nifti(tmp_path / f"s/{name}.nii.gz", mask, AFFINE, "RAS")
    shards = prepared(tmp_path, [{"subject": "s", "split": "test", "label_map": "s"}])
    expected = np.where(label_map == 4, 0, label_map)
    np.testing.assert_array_equal(shards.read("s").label_map, on_slices(expected))
    source = record_of(shards, "s").sources["label_map"]
    assert (source.axes, source.shape, str(source.path)) == ("RAS", SHAPE, "s")


def test_overlapping_masks_are_painted_in_order(tmp_path):
    whole = np.ones(SHAPE, np.uint8)
    for name in MASKS:
        write_nifti(tmp_path / f"s/{name}.nii.gz", whole, AFFINE)
    entry = {"subject": "s", "split": "test", "label_map": "s"}
    for order, top in [((), 3), (("bone", "fat"), 1), (("fat", "soft_tissue"), 2)]:
        slices = prepared(tmp_path, [entry], order=order).read("s")
        assert set(np.unique(slices.label_map)) == {0, top}


def test_folders_of_png_are_an_image_and_a_label_map(tmp_path):
    label_map, image = small_label_map(5), small_image(5)
    for folder, array, dtype in (("labels", label_map, np.uint8), ("images", image, np.uint16)):
        (tmp_path / folder).mkdir()
        for index in range(SHAPE[2]):
            pixels = Image.fromarray(array[:, :, index].T.astype(dtype))
            pixels.save(tmp_path / folder / f"s_slice_{index}.png")
    entry = {"subject": "s", "split": "test", "label_map": "labels", "image": "images"}
    shards = prepared(tmp_path, [entry], intensity={"name": "min_max"})
    np.testing.assert_array_equal(shards.read("s").label_map, on_slices(label_map))
    expected = np.interp(image, [image.min(), image.max()], [0, 2])
    np.testing.assert_allclose(shards.read("s").image, on_slices(expected) - 1, atol=2 / LEVELS)
    assert any("PNG slices" in warning for warning in record_of(shards, "s").warnings)


def test_a_dicom_series_is_an_image(tmp_path):
    image = small_image(5)
    # Columns point to the left, rows to the back: the array is already in LPS order.
    write_series(tmp_path / "s/series", image, AFFINE, slope=2, intercept=-7)
    write_nifti(tmp_path / "s/label_map.nii.gz", small_label_map(5), AFFINE, "RAS")
    entry = {"subject": "s", "split": "test", "label_map": "s/label_map.nii.gz"}
    shards = prepared(
        tmp_path, [entry | {"image": "s/series"}], intensity={"name": "window", "lower": -7,
        "upper": 1000},
    )  # fmt: skip
    expected = np.interp(2.0 * image - 7, [-7, 1000], [0, 2])
    np.testing.assert_allclose(shards.read("s").image, on_slices(expected) - 1, atol=2 / LEVELS)
    source = record_of(shards, "s").sources["image"]
    assert (source.shape, source.spacing_mm) == (SHAPE, SPACING)
    assert source.bytes == sum(f.stat().st_size for f in (tmp_path / "s/series").iterdir())


def test_a_label_source_defines_the_ids(tmp_path):
    classes = small_label_map(5)
    ids = np.array([0, 700, 2, 30, 4], np.uint16)[classes]
    write_nifti(tmp_path / "s.nii.gz", ids, AFFINE)
    entry = {"subject": "s", "split": "test", "label_map": "s.nii.gz", "label_source": "tool"}
    names = {700: "fat", 2: "soft_tissue", 30: "bone", 4: "fat"}
    shards = prepared(tmp_path, [entry], label_sources={"tool": names})
    expected = np.where(classes == 4, 1, classes)
    np.testing.assert_array_equal(shards.read("s").label_map, on_slices(expected))
    names[30] = "marrow"
    with pytest.raises(UserError, match=r"subject s: .*ids without a class: 30 \(marrow\)"):
        prepared(tmp_path, [entry], label_sources={"tool": names})
    slices = prepared(tmp_path, [entry], label_sources={"tool": names}, unlisted="tumour")
    assert np.sum(slices.read("s").label_map == 4) == np.sum(classes == 3)


def ct(label_map):
    """Hounsfield units that become these classes (a median filter rounds corners)."""
    return np.array([-1000, -100, 50, 600, 50], np.int16)[label_map]


def test_a_ct_becomes_tissue_with_its_overlays_on_top(tmp_path):
    classes = np.where(small_label_map(5) > 0, 2, 0)
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:6, 8:12, 1:4] = 1
    write_nifti(tmp_path / "ct.nii.gz", ct(classes), AFFINE, "RAS")
    write_nifti(tmp_path / "mask.nii.gz", mask, AFFINE, "PIR")
    entry = {"subject": "s", "split": "test", "ct": "ct.nii.gz"}
    shards = prepared(tmp_path, [entry | {"overlays": {"tumour": "mask.nii.gz"}}])
    found = shards.read("s").label_map
    np.testing.assert_array_equal(found == 4, on_slices(mask) == 1)
    body = ndimage.binary_fill_holes
    agreed = (found > 0) == np.stack([body(part > 0) for part in on_slices(classes)])
    assert agreed.mean() > 0.99
    sources = record_of(shards, "s").sources
    assert {role: source.axes for role, source in sources.items()} == {
        "ct": "RAS",
        "overlay:tumour": "PIR",
    }


def test_volumes_are_paired_by_voxel_only_on_request(tmp_path):
    entry = write_subject(tmp_path, "s", "test", seed=5)
    moved = lps_affine(SPACING, (19.8, 17, -10))
    write_nifti(tmp_path / "s/image.nii.gz", small_image(5), moved)
    with pytest.raises(UserError, match=r"a fraction of a voxel.*\[0\.8, 0\.0, 0\.0\] mm.*pair_by"):
        prepared(tmp_path, [entry])
    shards = prepared(tmp_path, [entry], pair_by="voxel")
    slices = shards.read("s")
    np.testing.assert_array_equal(slices.label_map, on_slices(small_label_map(5)))
    inside = slices.label_map == 1
    assert slices.image[inside].min() > slices.image[on_slices(np.ones(SHAPE)) == 0].max()
    write_nifti(tmp_path / "s/image.nii.gz", small_image(5)[1:], moved)
    with pytest.raises(
        UserError, match=r"pair_by=voxel needs volumes of the same shape.*\(19, 18, 6\)"
    ):
        prepared(tmp_path, [entry], pair_by="voxel")


def test_two_volumes_are_cropped_to_their_overlap(tmp_path):
    entry = write_subject(tmp_path, "s", "test", seed=5)
    part = small_image(5)[4:, :, 1:5]
    write_nifti(tmp_path / "s/image.nii.gz", part, lps_affine(SPACING, (11, 17, -6)), "SPL")
    shards = prepared(tmp_path, [entry])
    record, slices = record_of(shards, "s"), shards.read("s")
    assert record.volume_shape == (16, 18, 4)
    assert record.sources["image"].axes == "SPL"
    np.testing.assert_array_equal(slices.label_map, on_slices(small_label_map(5)[4:, :, 1:5]))
    assert sum(record.histogram.counts) == part.size


def test_a_subject_without_foreground_has_no_slices(tmp_path):
    write_nifti(tmp_path / "s.nii.gz", np.zeros(SHAPE, np.uint8), AFFINE)
    entry = {"subject": "s", "split": "test", "label_map": "s.nii.gz"}
    shards = prepared(tmp_path, [entry], minimum_foreground=0.01)
    record = record_of(shards, "s")
    assert (record.num_slices, record.class_pixels) == (0, (0,) * 5)
    assert shards.read("s").label_map.shape == (0, 32, 32)
    assert shards.subjects("test", "label_map") == ()


def test_a_misplaced_label_map_gets_a_warning(tmp_path):
    random = np.random.default_rng(0)
    classes = random.integers(1, 5, (1, 1, 40)) * np.ones((12, 12, 1), int)
    image = (classes * 100 + random.normal(0, 5, classes.shape)).astype(np.int16)
    write_nifti(tmp_path / "l.nii.gz", classes.astype(np.uint8), lps_affine((2, 2, 4)))
    write_nifti(tmp_path / "i.nii.gz", image, lps_affine((2, 2, 4), (0, 0, 20)))
    entry = {"subject": "s", "split": "test", "label_map": "l.nii.gz", "image": "i.nii.gz"}
    (warning,) = record_of(prepared(tmp_path, [entry]), "s").warnings
    assert "5 axial slices" in warning and "20 mm" in warning
    assert record_of(prepared(tmp_path, [entry], pair_by="voxel"), "s").warnings == ()
