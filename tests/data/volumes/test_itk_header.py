"""What ITK replaces in silence in NRRD and MetaImage headers is refused, or said."""

import numpy as np
import pytest

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.errors import UserError

itk = pytest.importorskip("SimpleITK")

META = {
    "Offset": "-30 -20 -100",
    "ElementSpacing": "2.5 2.5 5",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
}
NRRD = {
    "space": "left-posterior-superior",
    "space directions": "(2.5,0,0) (0,2.5,0) (0,0,5)",
    "space origin": "(-30,-20,-100)",
}
NAMES = ["a.mha", "a.nrrd"]


def write(folder, name, **changes):
    """A volume of 4 x 3 x 2 voxels with other fields in its header; None leaves one out."""
    path = folder / name
    is_meta = name.endswith(("mha", "mhd"))
    start = "ObjectType = Image\nNDims = 3\nBinaryData = True\n" if is_meta else "NRRD0005\n"
    end = (
        "DimSize = 4 3 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        if is_meta
        else "type: uint8\ndimension: 3\nsizes: 4 3 2\nendian: little\nencoding: raw\n\n"
    )
    fields = {
        **(META if is_meta else NRRD),
        **{key.replace("_", " "): v for key, v in changes.items()},
    }
    lines = [
        f"{key}{' = ' if is_meta else ': '}{value}\n"
        for key, value in fields.items()
        if value is not None
    ]
    # NRRD needs the number of axes before the vectors.
    text = start + (
        "".join(lines) + end if is_meta else end.removesuffix("\n") + "".join(lines) + "\n"
    )
    path.write_bytes(text.encode() + bytes(range(24)))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_complete_headers_are_read_without_a_word(name, tmp_path):
    volume = read_volume(write(tmp_path, name))
    assert volume.warnings == ()
    np.testing.assert_allclose(volume.affine[:3, 3], [30, 20, -100])
    np.testing.assert_allclose(volume.spacing_mm, [2.5, 2.5, 5])


@pytest.mark.parametrize("read", [read_volume, read_label_map, read_grid])
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("a.mha", {"Offset": "nan -30 -20"}, r"offset must be 3 numbers\. Received: nan -30 -20"),
        ("a.mha", {"Offset": "-30 -20"}, r"offset must be 3 numbers\. Received: -30 -20"),
        ("a.mha", {"Offset": "here and there"}, "offset must be 3 numbers"),
        ("a.mha", {"ElementSpacing": "2,5 2,5 5"}, "elementspacing must be 3 numbers"),
        ("a.mha", {"ElementSpacing": "2.5 inf 5"}, "elementspacing must be 3 numbers"),
        ("a.mha", {"ElementSpacing": "-2.5 2.5 5"}, "zero or negative size: -2.5 2.5 5"),
        (
            "a.mha",
            {"TransformMatrix": "1 0 0 0 1 0"},
            "transformmatrix must be 9 numbers",
        ),
        ("a.nrrd", {"space_directions": "none none none"}, "no voxel sizes"),
        ("a.nrrd", {"space_directions": None}, "no voxel sizes"),
        ("a.nrrd", {"space_origin": "(nan,nan,nan)"}, "space origin must be 3 numbers"),
    ],
)
def test_positions_that_are_no_numbers_are_refused(read, name, changes, message, tmp_path):
    path = write(tmp_path, name, **changes)
    with pytest.raises(UserError, match=message) as caught:
        read(path, ReadingConfig())
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "warning"),
    [
        ("a.mha", {"ElementSpacing": None}, "Its header has no voxel sizes: 1 mm is assumed."),
        (
            "a.nrrd",
            {"space_origin": None},
            "Its header has no origin: the first voxel is taken to be at 0, 0, 0 mm.",
        ),
        (
            "a.nrrd",
            {"space_directions": "(0.001,0,0) (0,2.5,0) (0,0,5)"},
            "Its voxel size is unusual: [1.0e-03 2.5e+00 5.0e+00] mm.",
        ),
        (
            "a.nrrd",
            {"space_directions": "(2.5,0,0) (0,2.5,1) (0,0,5)"},
            "Its axes are not at right angles: off by 21.8 degrees. Its slices are used as they "
            "are stored, not straightened.",
        ),
    ],
)
def test_what_is_assumed_is_a_warning(name, changes, warning, tmp_path):
    assert read_volume(write(tmp_path, name, **changes)).warnings == (warning,)


HOSTILE = {
    "NDims": ("32026-01", "NDims must be a number from 1 to 10. Received: '32026-01'"),
    "NDims_": ("11", "'NDims' is there twice|NDims must be a number"),
    "HeaderSize": ("9" * 30, "headersize must be 1 whole numbers"),
    "CompressedDataSize": ("-5", "compresseddatasize must be 1 whole numbers"),
    "Comment": ("x" * 5000, "or one is too long"),
    "Name": ("a\0b", "has characters that are no text"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_headers_that_break_the_memory_of_itk_are_refused(name, tmp_path):
    value, message = HOSTILE[name]
    path = write(tmp_path, "a.mha", **{name.rstrip("_"): value})
    if name == "NDims":  # once, instead of the 3
        path.write_bytes(path.read_bytes().replace(b"NDims = 3\n", b""))
    for read in (read_volume, read_label_map, read_grid):
        with pytest.raises(UserError, match=message):
            read(path)


def test_a_header_without_its_end_is_refused(tmp_path):
    path = write(tmp_path, "a.mha")
    path.write_bytes(path.read_bytes().replace(b"ElementDataFile", b"ElementDatFile"))
    with pytest.raises(UserError, match=r"has no ElementDataFile|no text"):
        read_volume(path)


@pytest.mark.parametrize("name", ["", "x" * 300, "a\0b"])
def test_names_of_voxel_files_that_no_file_has_are_refused(name, tmp_path):
    path = write(tmp_path, "a.mha")
    path.write_bytes(path.read_bytes().replace(b"LOCAL", name.encode()))
    with pytest.raises(UserError):
        read_volume(path)
