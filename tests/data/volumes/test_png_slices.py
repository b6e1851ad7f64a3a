import numpy as np
import pytest
from PIL import Image

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.errors import UserError

RNG = np.random.default_rng(0)


def write_stack(folder, array, name="slice_{}.png"):
    """Write `[x, y, z]` like the published preprocessing: one file per z, rows are y."""
    folder.mkdir(parents=True, exist_ok=True)
    for z in range(array.shape[2]):
        Image.fromarray(np.ascontiguousarray(array[:, :, z].T)).save(folder / name.format(z))
    return folder


@pytest.mark.parametrize("dtype, most", [(np.uint8, 255), (np.uint16, 65535)])
def test_slices_are_stacked_in_numeric_order(dtype, most, tmp_path):
    array = RNG.integers(0, most, [4, 5, 12], endpoint=True).astype(dtype)
    array[0, 0, 0] = most
    write_stack(tmp_path / "images", array)
    for read in (read_volume(tmp_path / "images"), read_label_map(tmp_path / "images")):
        np.testing.assert_array_equal(read.array, array)
        assert read.array.dtype == dtype
        np.testing.assert_array_equal(read.affine, np.diag([-1.0, -1, 1, 1]))
        (warning,) = read.warnings
        assert "1 mm is assumed" in warning
    grid = read_grid(tmp_path / "images")
    assert (grid.shape, grid.axes) == ((4, 5, 12), "LPS")
    np.testing.assert_array_equal(grid.affine, read.affine)


def test_rgb_with_equal_channels_is_grey(tmp_path):
    array = RNG.integers(0, 256, [4, 5], np.uint8)
    Image.fromarray(np.stack([array.T] * 3, axis=-1)).save(tmp_path / "1.png")
    Image.fromarray(array.T.copy()).save(tmp_path / "2.png")
    np.testing.assert_array_equal(read_volume(tmp_path).array, np.stack([array] * 2, axis=-1))


def test_gaps_in_the_numbers_are_a_warning(tmp_path):
    write_stack(tmp_path, np.zeros([4, 5, 6], np.uint8), "patient1_{}.png")
    (tmp_path / "patient1_3.png").unlink()
    assert "have 1 gaps" in read_volume(tmp_path).warnings[1]


def test_slices_of_two_volumes_in_one_folder_are_a_warning(tmp_path):
    for patient in ("p1", "p2"):
        write_stack(tmp_path, np.zeros([4, 5, 6], np.uint8), patient + "_slice_{}.png")
    read = read_volume(tmp_path)
    assert read.shape == (4, 5, 12)
    assert "2 names, such as p1_slice_ and p2_slice_" in read.warnings[1]


def another_size(folder):
    Image.fromarray(np.zeros([5, 5], np.uint8)).save(folder / "slice_1.png")


def another_depth(folder):
    Image.fromarray(np.zeros([5, 4], np.uint16)).save(folder / "slice_1.png")


def colour(folder):
    pixels = np.zeros([5, 4, 3], np.uint8)
    pixels[2, 2, 1] = 7
    Image.fromarray(pixels).save(folder / "slice_1.png")


def palette(folder):
    Image.fromarray(np.zeros([5, 4], np.uint8)).convert("P").save(folder / "slice_1.png")


def alpha(folder):
    Image.fromarray(np.zeros([5, 4, 4], np.uint8)).save(folder / "slice_1.png")


def text(folder):
    (folder / "slice_1.png").write_text("hello")


def truncated(folder):
    path = folder / "slice_1.png"
    path.write_bytes(path.read_bytes()[:50])


def jpeg(folder):
    Image.fromarray(np.zeros([5, 4], np.uint8)).save(folder / "slice_1.png", format="JPEG")


def dicom(folder):
    (folder / "IM0").write_bytes(bytes(128) + b"DICM")


REFUSED = [
    (another_size, r"slice_0.png has \(4, 5\) pixels of mode L and slice_1.png has \(5, 5\)"),
    (another_depth, r"slice_1.png has \(4, 5\) of I;16. Put each volume"),
    (colour, r"slice_1.png is coloured: its three channels differ. Save"),
    (palette, r"slice_1.png has \(4, 5\) of P. Put each volume"),
    (alpha, r"slice_1.png must be grey.*Received: mode RGBA. Save"),
    (text, r"slice_1.png cannot be read as PNG"),
    (truncated, r"slice_1.png cannot be read as PNG"),
    (jpeg, r"slice_1.png cannot be read as PNG"),
    (dicom, r"both PNG and DICOM files"),
]


@pytest.mark.parametrize("damage, message", REFUSED)
def test_folders_that_are_not_one_volume_raise_a_message_with_the_path(damage, message, tmp_path):
    write_stack(tmp_path, RNG.integers(0, 256, [4, 5, 3]).astype(np.uint8))
    damage(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        read_volume(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_the_limit_of_voxels_applies_to_the_stack(tmp_path):
    write_stack(tmp_path, np.zeros([4, 5, 6], np.uint8))
    with pytest.raises(UserError, match=r"claims 120 voxels; the limit is 119"):
        read_volume(tmp_path, ReadingConfig(maximum_voxels=119))


def with_palette(folder, ids, colours):
    folder.mkdir(exist_ok=True)
    for z in range(ids.shape[2]):
        image = Image.fromarray(np.ascontiguousarray(ids[:, :, z].T), mode="P")
        image.putpalette([channel for colour in colours for channel in colour])
        image.save(folder / f"{z}.png")
    return folder


@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
def test_the_ids_of_files_with_a_palette_are_its_indices(tmp_path):
    ids = RNG.integers(0, 4, [4, 5, 3]).astype(np.uint8)
    folder = with_palette(tmp_path / "l", ids, [(0, 0, 0), (255, 0, 0), (0, 9, 0), (1, 2, 3)])
    np.testing.assert_array_equal(read_label_map(folder).array, ids)
    with pytest.raises(UserError, match="coloured"):
        read_volume(folder)
    grey = with_palette(tmp_path / "g", ids, [(v, v, v) for v in (200, 100, 50, 0)])
    np.testing.assert_array_equal(read_volume(grey).array, np.array([200, 100, 50, 0])[ids])


def test_black_and_white_files_are_masks(tmp_path):
    mask = RNG.integers(0, 2, [4, 5]).astype(np.uint8)
    Image.fromarray(mask.T.astype(bool)).save(tmp_path / "0.png")
    np.testing.assert_array_equal(read_label_map(tmp_path).array[:, :, 0], mask)
