from types import SimpleNamespace

import pytest

from medusis_tf.evaluation.unseen_patients import described, seen_patients
from medusis_tf.reports.evaluation.verdicts import verdicts

SPLITS = {"train": ["a", "b"], "validation": ["v"], "test": ["t"]}
TRAINED = SimpleNamespace(
    subjects_of=lambda split: [SimpleNamespace(patient_name=name) for name in SPLITS[split]]
)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("test", {"train": ["a", "b"], "validation": ["v"]}),
        ("validation", {"train": ["a", "b"]}),
        ("train", {}),
    ],
)
def test_patients_of_the_training_of_a_run_are_seen(split, expected):
    assert seen_patients(TRAINED, ["v", "b", "a", "t", "x"], split) == expected
    assert seen_patients(TRAINED, ["t", "x"], split) == {}
    assert seen_patients(None, ["a"], split) == {}


def test_the_report_says_which_patients_were_seen():
    seen = {"train": ["a", "b"], "validation": ["v"]}
    assert described(seen) == "a, b in the training split; v in the validation split"
    content = {"methods": [{"name": "model", "kind": "model"}]}
    assert verdicts(content) == []
    [found] = verdicts({**content, "data": {"seen_in_training": seen}})
    assert found.is_good is False
    assert "a, b in the training split; v in the validation split" in found.text
