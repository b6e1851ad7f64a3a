"""What the ids of a label map mean for a model."""

import json

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.errors import UserError
from medusis_tf.serving.label_maps import LabelMapOptions, grid_for_model, read_for_model
from medusis_tf.serving.metadata import ModelMetadata
from tests.data.dicom_files import write_series
from tests.data.dicom_segments import write_rtstruct, write_seg

AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])
TOOL = {1: "spleen", 47: "liver", 48: "heart"}


def metadata(sources=None, **data):
    return ModelMetadata(
        name="thorax", step=9, image_size=(32, 32), spacing_mm=(2, 2), stride=4, noise_shape=(0,),
        image_channels=1, trained={}, exported={}, config={"data": data},
        intensity=IntensityScale((0.0, 1.0), (-1.0, 1.0)),
        label_sources={"tool": TOOL} if sources is None else sources,
        classes=(
            ClassEntry(id=0, name="background", colour=(0, 0, 0)),
            ClassEntry(id=1, name="liver", colour=(1, 0, 0)),
            ClassEntry(id=2, name="trunk", colour=(2, 0, 0), sources=("spleen", "kidney_left")),
        ),
    )  # fmt: skip


def write(path, ids, names=None):
    """A row of these ids; with a label table in a header extension, as TotalSegmentator writes."""
    image = nib.Nifti1Image(np.reshape(ids, (-1, 1, 1)).astype(np.int16), AFFINE)
    if names is not None:
        labels = "".join(
            f'<Label Key="{i}"><![CDATA[{name}]]></Label>' for i, name in names.items()
        )
        table = f"<CaretExtension><LabelTable>{labels}</LabelTable></CaretExtension>"
        xml = f'<?xml version="1.0" encoding="UTF-8"?>{table}'
        image.header.extensions.append(nib.nifti1.Nifti1Extension(0, xml.encode()))
    path.parent.mkdir(exist_ok=True)
    nib.save(image, path)
    return path


def read(path, model=None, **options):
    volume = read_for_model(path, model or metadata(), LabelMapOptions(**options))
    return volume.array.ravel().tolist(), "\n".join(volume.warnings)


def test_ids_of_the_model_are_kept_without_a_word(tmp_path):
    assert read(write(tmp_path / "l.nii", [0, 1, 2]), metadata(sources={})) == ([0, 1, 2], "")


def test_ids_of_the_only_label_source_are_mapped_by_it(tmp_path):
    classes, lines = read(write(tmp_path / "l.nii", [0, 47, 1, 47]))
    assert classes == [0, 1, 2, 1]
    assert lines == (
        "its ids are read as those of tool, a label source of the training: 1 spleen, 47 liver"
    )


def test_ids_that_could_be_either_are_those_of_the_model_and_that_is_said(tmp_path):
    path = write(tmp_path / "l.nii", [0, 1, 1])
    classes, lines = read(path)
    assert classes == [0, 1, 1]
    assert "read as those of the model: 1 liver. If they are those of tool, give" in lines
    assert read(path, label_source="tool") == ([0, 2, 2], "")
    assert read(path, label_source="model") == ([0, 1, 1], "")


def test_ids_of_several_sources_with_different_meanings_are_refused(tmp_path):
    path = write(tmp_path / "l.nii", [0, 47])
    model = metadata({"tool": TOOL, "other": {47: "spleen"}})
    with pytest.raises(UserError, match=r"several label sources of .*: tool, other\. Give one"):
        read(path, model)
    assert read(path, model, label_source="other")[0] == [0, 2]
    same = metadata({"tool": TOOL, "other": {47: "liver"}})
    assert read(path, same)[0] == [0, 1]


def test_unknown_ids_are_refused_with_what_helps(tmp_path):
    path = write(tmp_path / "l.nii", [0, 7, 1])
    with pytest.raises(
        UserError, match=r"does not know: 7; .*slice 0 .*--label-source.*--unlisted"
    ):
        read(path)
    assert read(path, unlisted="trunk")[0] == [0, 2, 1]
    with pytest.raises(UserError, match=r"must be a class of .*'trunc'; did you mean trunk"):
        read(path, unlisted="trunc")
    table = tmp_path / "table.yaml"
    table.write_text("name: mine\nlabels: {1: liver, 7: kidney_left}\n")
    assert read(path, label_source=str(table)) == ([0, 2, 1], "")
    assert read(write(tmp_path / "t.nii", [0, 5]), label_source="totalsegmentator_v2")[0] == [0, 1]
    with pytest.raises(UserError, match=r"there is no label source toul: .*did you mean tool"):
        read(path, label_source="toul")


@pytest.mark.parametrize("ids", [[0, -1], [0, 70000]])
def test_ids_of_any_size_are_refused_without_a_traceback(tmp_path, ids):
    image = nib.Nifti1Image(np.reshape(ids, (-1, 1, 1)).astype(np.int32), AFFINE)
    nib.save(image, tmp_path / "l.nii")
    with pytest.raises(UserError, match=f"does not know: {ids[1]}"):
        read(tmp_path / "l.nii")


def test_an_empty_label_map_is_refused(tmp_path):
    with pytest.raises(UserError, match="no foreground"):
        read(write(tmp_path / "l.nii", [0, 0]))
    with pytest.raises(UserError, match="no foreground"):
        read(write(tmp_path / "l.nii", [0, 48]), unlisted="background", label_source="tool")


def test_names_in_the_file_decide(tmp_path):
    fitting = write(tmp_path / "a.nii.gz", [0, 1, 2], {1: "liver", 2: "trunk", 9: "bone"})
    assert read(fitting) == ([0, 1, 2], "")
    swapped = write(tmp_path / "b.nii.gz", [0, 1, 2], {1: "Kidney left", 2: "Liver"})
    classes, lines = read(swapped)
    assert classes == [0, 2, 1]
    assert "found by the names that it states: 1 Kidney left, 2 Liver" in lines


def test_ids_in_range_with_other_names_are_refused_and_can_be_overruled(tmp_path):
    path = write(tmp_path / "l.nii.gz", [0, 1, 2], {1: "liver", 2: "femur"})
    with pytest.raises(UserError, match=r"no class for 2 \(femur\)\. .*--label-source model"):
        read(path)
    assert read(path, unlisted="background")[0] == [0, 1, 0]
    classes, lines = read(path, label_source="model")
    assert classes == [0, 1, 2]
    assert "overrules the names that it states: 2 femur, not trunk" in lines


def test_names_that_training_left_unlisted_become_what_they_were_there(tmp_path):
    model = metadata(unlisted="background")
    classes, lines = read(write(tmp_path / "l.nii", [0, 1, 5], {1: "femur", 5: "liver"}), model)
    assert classes == [0, 0, 1]
    assert "without a class, so background: 1" in lines
    with pytest.raises(UserError, match="no class for"):  # nothing fits: another anatomy
        read(write(tmp_path / "l.nii", [0, 1, 2], {1: "femur", 2: "tibia"}), model)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.json", json.dumps({"labels": {"1": "trunk", "2": "liver"}})),
        ("l.json", json.dumps({"labels": {"background": 0, "trunk": 1, "liver": 2}})),
        ("l.json", json.dumps({"1": "trunk", "2": "liver"})),
        (
            "l.json",
            json.dumps(
                {
                    "segmentAttributes": [
                        [
                            {"labelID": 1, "SegmentLabel": "trunk"},
                            {"labelID": 2, "SegmentLabel": "liver"},
                        ]
                    ]
                }
            ),
        ),
        ("l.tsv", "index\tname\n1\ttrunk\n2\tliver\n"),
    ],
)
def test_a_table_beside_the_file_decides_too(tmp_path, name, text):
    path = write(tmp_path / "l.nii.gz", [0, 1, 2])
    (tmp_path / name).write_text(text)
    assert read(path)[0] == [0, 2, 1]


INFINITE = '{"segmentAttributes": [[{"labelID": Infinity}]]}'


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"EchoTime": 5}', "[" * 100_000, '{"labels": 3}', INFINITE]
)
def test_other_files_beside_it_are_no_table(tmp_path, text):
    path = write(tmp_path / "l.nii.gz", [0, 1, 2])
    (tmp_path / "l.json").write_text(text)
    assert read(path)[0] == [0, 1, 2]


def test_a_folder_of_masks_goes_in_directly(tmp_path):
    write(tmp_path / "masks" / "spleen.nii.gz", [0, 1, 0])
    write(tmp_path / "masks" / "liver.nii.gz", [0, 0, 1])
    assert read(tmp_path / "masks")[0] == [0, 2, 1]
    with pytest.raises(UserError, match="there is no file or folder"):
        read(tmp_path / "missing")


def test_files_are_read_as_in_training(tmp_path):
    path = write(tmp_path / "l.nii", [0, 1])
    raw = bytearray(path.read_bytes())
    raw[252:256] = bytes(4)  # qform_code and sform_code
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"data\.reading\.assume_axes"):
        read(path)
    assert read(path, metadata(sources={}, reading={"assume_axes": "LPS"}))[0] == [0, 1]
    classes, lines = read(path, metadata(sources={}), reading={"assume_axes": "LPS"})
    assert classes == [0, 1] and "axes LPS are assumed" in lines
    with pytest.raises(UserError, match=r"data\.reading\.assume_axis: unknown key"):
        read(path, reading={"assume_axis": "LPS"})


def test_a_dicom_seg_is_read_by_the_names_of_its_segments(tmp_path):
    pytest.importorskip("highdicom")
    ids = np.zeros((6, 5, 4), np.uint8)
    ids[1:4, 1:4], ids[4:, 1:4] = 1, 2
    write_series(tmp_path / "series", ids.astype(np.int16), AFFINE)
    path = write_seg(
        tmp_path / "seg.dcm", tmp_path / "series", {"Spleen": ids == 1, "liver": ids == 2}
    )
    label_map = read_for_model(path, metadata())
    names, counts = np.unique(label_map.array, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True))[2] == (ids == 1).sum()
    assert dict(zip(names.tolist(), counts.tolist(), strict=True))[1] == (ids == 2).sum()
    assert grid_for_model(path, LabelMapOptions().reading_of(metadata())).shape == label_map.shape
    other = write_seg(tmp_path / "other.dcm", tmp_path / "series", {"lung": ids == 1})
    with pytest.raises(UserError, match="segments without a class: lung"):
        read_for_model(other, metadata())
    unlisted = read_for_model(other, metadata(), LabelMapOptions(unlisted="trunk"))
    assert (unlisted.array == 2).sum() == (ids == 1).sum()


def test_a_series_with_its_structure_set_is_a_label_map(tmp_path):
    ids = np.zeros((6, 5, 4), np.int16)
    ids[1:5, 1:4, 1:3] = 1
    write_series(tmp_path, ids, AFFINE)
    corners = [(0.5, 0.5), (4.5, 0.5), (4.5, 3.5), (0.5, 3.5)]
    contours = [apply_affine(AFFINE, [(*corner, z) for corner in corners]) for z in (1, 2)]
    write_rtstruct(tmp_path / "rs.dcm", {"Spleen": contours})
    label_map = read_for_model(tmp_path, metadata())
    series = grid_for_model(tmp_path, LabelMapOptions().reading_of(metadata()))
    assert label_map.shape == series.shape == ids.shape
    np.testing.assert_allclose(label_map.affine, series.affine)
    assert np.unique(label_map.array).tolist() == [0, 2]
    assert (label_map.array == 2).sum() == ids.sum()
