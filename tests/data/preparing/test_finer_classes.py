"""Subjects whose classes are cut by their CT, and what is said about them."""

import numpy as np
import pytest

from medusis_tf.config.data import Subject
from medusis_tf.data.preparing.conversion_tasks import conversion_tasks
from medusis_tf.data.preparing.subjects import load_label_map
from medusis_tf.errors import UserError
from medusis_tf.reports.data.finer_classes import finer_classes, finer_classes_line
from tests.data.volume_files import write_nifti
from tests.training.tiny_experiment import CLASSES, tiny_experiment

COARSE = CLASSES[-1]
MARROW = {
    "id": len(CLASSES),
    "name": "marrow",
    "colour": [9, 9, 9],
    "part_of": COARSE["name"],
    "where": {"upper_hu": 400, "erode_pixels": 1},
}


@pytest.fixture
def data(tmp_path):
    """A square of the last class, of 1000 HU but for its centre."""
    labels = np.zeros([12, 12, 4], np.uint8)
    labels[2:9, 2:9] = COARSE["id"]
    ct = np.where(labels > 0, 1000, -1000).astype(np.int16)
    ct[4:7, 4:7] = 0
    write_nifti(tmp_path / "l.nii", labels)
    write_nifti(tmp_path / "ct.nii", ct)

    def data(classes=(*CLASSES, MARROW), **subject):
        entry = Subject(subject="s", split="train", label_map="l.nii", **subject)
        config = tiny_experiment(data={"root": str(tmp_path), "classes": list(classes)}).data
        return entry, config.model_copy(update={"subjects": (entry,)})

    return data


def test_a_subject_with_label_map_and_ct_has_finer_classes(data):
    label_map = load_label_map(*data(ct="ct.nii"))
    marrow = label_map.array == MARROW["id"]
    # The median rounds off the corners of the 3x3 pixels.
    assert marrow.sum(axis=(0, 1)).tolist() == [5] * 4
    with pytest.raises(UserError, match=r"l\.nii has none of the finer classes \(marrow\)"):
        load_label_map(*data())


def test_slices_of_an_experiment_without_finer_classes_keep_their_name(data):
    def content(classes):
        return conversion_tasks(data(classes)[1], {"s": {}})[0].content

    part = {**MARROW, "where": None}
    assert content(CLASSES) != content((*CLASSES, part))
    assert content((*CLASSES, part)) != content((*CLASSES, MARROW))
    other = {**MARROW, "where": {"upper_hu": 300}}
    assert content((*CLASSES, other)) != content((*CLASSES, MARROW))


def test_what_is_refined_is_said(data):
    _, config = data(ct="ct.nii")
    record = type("Record", (), {"class_pixels": (5,) * len(CLASSES) + (15,)})
    (found,) = finer_classes(config, [record])
    assert (found.name, found.share) == ("marrow", 0.75)
    assert found.rule == "below 400 HU, 1 pixel from the border"
    assert finer_classes_line(config, [record]) == (
        f"finer classes: marrow (75% of {COARSE['name']})"
    )
    assert "off" in finer_classes_line(data(CLASSES)[1], [])


def volumes(root, ct):
    write_nifti(root / "ct.nii", ct.astype(np.int16))


def square(inside=1000, outside=-1000):
    """A CT of the square of the label map."""
    ct = np.full([12, 12, 4], outside, np.float32)
    ct[2:9, 2:9] = inside
    return ct


@pytest.mark.parametrize(
    ("ct", "reason"),
    [
        (np.full([12, 12, 4], -1000.0), "only 0% of the foreground"),
        (np.zeros([12, 12, 4]), "is no CT in Hounsfield units"),
        (np.roll(square(), 5, axis=0), r"only \d+% of the foreground"),
    ],
)
def test_a_ct_that_synthesis_refuses_is_refused(data, tmp_path, ct, reason):
    subject, config = data(ct="ct.nii")
    volumes(tmp_path, ct)
    with pytest.raises(UserError, match=reason):
        load_label_map(subject, config)


def test_what_synthesis_warns_of_is_a_warning_of_the_subject(data, tmp_path):
    subject, config = data(ct="ct.nii")
    assert load_label_map(subject, config).warnings == ()
    volumes(tmp_path, square(1000, 24))
    [line] = load_label_map(subject, config).warnings
    assert "has no air: its lowest value is 24" in line


def test_a_ct_alone_must_be_in_hounsfield_units(data, tmp_path):
    entry, config = data(ct="ct.nii")
    alone = entry.model_copy(update={"label_map": None})
    config = config.model_copy(update={"subjects": (alone,)})
    volumes(tmp_path, np.arange(12 * 12 * 4).reshape(12, 12, 4) % 5)
    with pytest.raises(UserError, match="is no CT in Hounsfield units"):
        load_label_map(alone, config)
