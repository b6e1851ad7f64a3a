"""The audit of a model, on phantoms whose slices differ from subject to subject."""

from types import SimpleNamespace

import numpy as np
import pytest

from medusis_tf.evaluation.audit import (
    MAX_SLICES,
    NUM_NEAREST,
    audit_model,
    describe_audit,
    evenly,
    is_flagged,
)
from medusis_tf.evaluation.painters import Painter
from tests.evaluation.made_subjects import made_subject


class Shards:
    """Each subject has a smooth random image of its own that changes from slice to slice."""

    def __init__(self, splits, num_slices=12):
        self.num_slices = num_slices
        subjects = [
            SimpleNamespace(
                subject=name,
                patient=name,
                split=split,
                kinds=("image", "label_map"),
                num_slices=num_slices,
            )
            for name, split in splits.items()
        ]
        self.records = SimpleNamespace(subjects=subjects)

    def subjects(self, split, stream):
        assert stream == "image"
        return [each for each in self.records.subjects if each.split == split]

    def read_image(self, subject):
        names = [each.subject for each in self.records.subjects]
        number = names.index(getattr(subject, "subject", subject))
        return random_slices(number, self.num_slices)


class Subjects(list):
    """The test subjects, whose label maps are not used."""

    def __init__(self, shards):
        self.records = shards.subjects("test", "image")
        label_map = np.zeros((shards.num_slices, 48, 48), np.uint8)
        super().__init__(made_subject(label_map, name=record.subject) for record in self.records)


def random_slices(seed, count):
    """Smooth images, alike from slice to slice, that differ from seed to seed."""
    random = np.random.default_rng(seed)
    base, change = random.normal(size=(2, 6, 6))
    weights = np.linspace(0, 1, count)[:, np.newaxis, np.newaxis]
    coarse = np.tanh(base + weights * change)
    return coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


@pytest.fixture(scope="module")
def shards():
    return Shards({"a": "train", "b": "train", "c": "train", "test": "test"})


def audited(shards, paint):
    return audit_model(Painter("model", "model", paint), Subjects(shards), shards, "test", seed=0)


def test_a_model_that_repeats_training_slices_is_flagged(shards):
    def paint(subject, _):
        return 0.5 * shards.read_image("b")[::-1] + 0.2

    found = audited(shards, paint)
    assert is_flagged(found)
    content = describe_audit(found)
    assert content["flagged"] is True
    assert content["near_copies"] == 1
    assert content["synthetic_median_distance"] == pytest.approx(0, abs=1e-2)
    # Slices come in the order of the subject: the first image is the last training slice.
    assert [each.place for each in found.found.synthetic] == list(range(11, -1, -1))
    assert {each.subject for each in found.found.synthetic} == {"b"}


def test_the_nearest_pairs_are_shown(shards):
    found = audited(shards, lambda subject, _: shards.read_image("a"))
    assert len(found.pairs) == NUM_NEAREST
    for pair in found.pairs:
        np.testing.assert_allclose(pair.synthetic, pair.training, atol=1e-2)
        assert pair.similarity > 0.99
        assert pair.title == "test / a"


def test_own_images_are_not_flagged(shards):
    found = audited(shards, lambda subject, _: random_slices(100, 12))
    assert not is_flagged(found)
    assert describe_audit(found)["near_copies"] <= 0.25


def test_held_out_slices_themselves_are_not_flagged(shards):
    found = audited(shards, lambda subject, _: shards.read_image("test"))
    assert not is_flagged(found)
    assert found.found.ratio_p_value == pytest.approx(0.5, abs=0.05)


def test_patients_are_tested_if_there_are_enough():
    tests = {f"t{number}": "test" for number in range(5)}
    shards = Shards({"a": "train", "b": "train", "c": "train", **tests})
    content = describe_audit(audited(shards, lambda subject, _: shards.read_image("b")))
    assert content["tested"] == {"synthetic": 5, "held_out": 5}
    assert content["ratio_p_value"] == pytest.approx(1 / 252, abs=1e-3), "the least there is"
    assert content["flagged"]
    alone = audited(shards, lambda subject, _: random_slices(100 + int(subject.name[1]), 12))
    assert not is_flagged(alone)


def test_with_one_training_subject_the_distance_decides():
    shards = Shards({"a": "train", "test": "test"})
    found = audited(shards, lambda subject, _: shards.read_image("a"))
    assert np.isnan(found.found.ratio_p_value)
    assert is_flagged(found)


def test_without_held_out_images_there_is_no_audit(shards):
    model = Painter("model", "model", lambda subject, _: random_slices(1, 12))
    assert audit_model(model, Subjects(shards), shards, "validation", seed=0) is None
    assert audit_model(model, Subjects(shards), shards, "train", seed=0) is None


def test_a_large_set_is_thinned_evenly():
    slices = np.zeros((300, 2, 2)) + np.arange(300)[:, None, None]
    chosen = evenly([("a", slices[:100]), ("b", slices[100:])], 300)
    assert len(chosen) == 150 <= MAX_SLICES
    assert [float(part[0, 0]) for part in chosen.values()] == list(range(0, 300, 2))
    assert list(chosen)[50] == ("b", 0)
