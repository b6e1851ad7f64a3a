"""A stored appearance is used only if it is whole and belongs to the data."""

import json

import numpy as np
import pytest

from medusis_tf.appearance import load_appearance
from medusis_tf.appearance.appearance import (
    NUM_QUANTILES,
    Appearance,
    ClassAppearance,
    PseudoLabels,
)
from medusis_tf.config.taxonomy import ClassEntry

NAMES = ("background", "fat", "absent")
CLASSES = tuple(ClassEntry(id=k, name=name, colour=(k, k, k)) for k, name in enumerate(NAMES))
SHAPE = (2, 4, 4)
SHAPES = {"s1": SHAPE, "s2": SHAPE}


def made():
    levels = np.linspace(-1, 1, NUM_QUANTILES, dtype=np.float32)
    quantiles = np.stack([levels / 10 - 0.9, levels / 2, np.full(NUM_QUANTILES, np.nan)])
    labels = np.arange(32, dtype=np.uint8).reshape(SHAPE) % 2
    found = PseudoLabels.of(labels, np.full(SHAPE, 0.75))
    return Appearance(
        classes=tuple(
            ClassAppearance(k, name, name, "estimated", np.nan, 0.25, 0.5)
            for k, name in enumerate(NAMES)
        ),
        quantiles=quantiles.astype(np.float32),
        means=np.array([-0.9, 0, np.nan], np.float32),
        deviations=np.array([0.1, 0.5, np.nan], np.float32),
        correlation_px=np.ones((3, 2), np.float32),
        subject_means={"fat": {"s1": 0.1, "s2": np.nan}},
        features=("depth",),
        smoothing=0.5,
        warnings=("none",),
        pseudo_labels={"s1": found, "s2": found},
    )


@pytest.fixture
def stored(tmp_path):
    made().save(tmp_path)
    return tmp_path


def load(folder, classes=CLASSES, shapes=SHAPES):
    return load_appearance(folder, classes, shapes)


def test_what_was_saved_is_read(stored):
    found, own = load(stored), made()
    for name in ("quantiles", "means", "deviations", "correlation_px"):
        np.testing.assert_array_equal(getattr(found, name), getattr(own, name))
    assert found.description() == own.description()
    np.testing.assert_array_equal(found.pseudo_labels["s2"].labels, own.pseudo_labels["s2"].labels)


def test_a_missing_estimate_is_no_warning(tmp_path, caplog):
    assert load(tmp_path) is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "version 2"),
        ({"means": 5.0}, "means: must be a list"),
        ({"means": None}, "means: must be a list"),
        ({"means": [0, 0, 0]}, "not of the same classes"),
        ({"means": [3, 0, None]}, "means.0"),
        ({"quantiles": [[0.0] * 32] * 2}, "quantiles has 2 rows for 3 classes"),
        ({"quantiles": [[1e30] * 32] * 3}, "quantiles.0.0"),
        ({"quantiles": [[0.0] * 3] * 3}, "quantiles.0"),
        ({"quantiles": [[0.5] + [0.0] * 31, [0.0] * 32, [None] * 32]}, "do not increase"),
        ({"deviations": [-1, 0, None]}, "deviations.0"),
        ({"classes": "text"}, "classes: must be a list"),
        ({"classes": []}, "classes"),
        ({"smoothing": "much"}, "smoothing"),
        ({"smoothing": float("nan")}, "smoothing"),
        ({"subject_means": 5}, "subject_means"),
        ({"subject_means": {"fat": {"s9": 0}}}, "unknown subject s9"),
        ({"subject_means": {"fat": {"s1": 0}, "bone": {}}}, "not all subjects"),
        ({"subjects": []}, "not the training subjects"),
        ({"subjects": ["s1", "../s2"]}, "subjects.1"),
        ({"new": 1}, "new: unknown key"),
    ],
)
def test_an_edited_description_is_not_used(stored, caplog, change, message):
    file = stored / "appearance.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert load(stored) is None
    [record] = caplog.records
    assert message in record.message
    assert str(stored) in record.message


@pytest.mark.parametrize(
    ("key", "value"), [("name", "liver"), ("spread", "wide"), ("spread", -1), ("share", 7)]
)
def test_an_edited_class_is_not_used(stored, caplog, key, value):
    file = stored / "appearance.json"
    content = json.loads(file.read_text())
    content["classes"][1][key] = value
    file.write_text(json.dumps(content))
    assert load(stored) is None
    assert len(caplog.records) == 1


def test_an_estimate_of_other_data_is_not_used(stored):
    assert load(stored, CLASSES[:2]) is None
    assert load(stored, shapes={"s1": SHAPE}) is None
    assert load(stored, shapes=SHAPES | {"s2": (3, 4, 4)}) is None
    assert load(stored, None, None) is not None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "array", "shape", "class"])
def test_damaged_pseudo_labels_are_not_used(stored, caplog, damage):
    file = stored / "pseudo_labels" / "s2.npz"
    content = file.read_bytes()
    if damage in ("shape", "class"):
        shape = (2, 4, 5) if damage == "shape" else SHAPE
        labels = np.full(shape, 3 * (damage == "class"), np.uint8)
        np.savez_compressed(file, labels=labels, certainty=labels)
    elif damage == "array":
        np.save(stored / "array.npy", np.zeros(SHAPE))
        (stored / "array.npy").replace(file)
    else:
        middle = content.index(b"labels.npy") + 60  # in the compressed numbers
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        file.write_bytes({"cut": content[:100], "flipped": flipped, "empty": b""}.get(damage, b"x"))
    assert load(stored) is None
    [record] = caplog.records
    assert "s2.npz: " in record.message
