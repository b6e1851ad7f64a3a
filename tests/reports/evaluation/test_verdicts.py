import pytest

from medusis_tf.reports.evaluation.verdicts import verdicts


def method(name, kind, ssim, distance):
    return {
        "name": name,
        "kind": kind,
        "similarity": {"body": {"ssim": {"mean": ssim}}},
        "distribution": {"radiomics": {"frechet_distance": distance}},
    }


def content(ssim=0.6, distance=5.0, **more):
    methods = [
        method("model", "model", ssim, distance),
        method("oracle", "reference", 0.9, 1.0),
        method("means", "baseline", 0.5, 20.0),
        method("nearest", "baseline", 0.3, 10.0),
    ]
    return {"methods": methods, **more}


AUDIT = {
    "synthetic_median_distance": 0.5, "held_out_median_distance": 0.6, "near_copies": 0.02,
    "flagged": False,
}  # fmt: skip


def test_a_model_beats_the_best_baseline_or_not():
    similarity, distance = verdicts(content())
    assert similarity.is_good
    assert "0.600; best baseline: 0.500, means. The model beats it." in similarity.text
    assert "best baseline: 10.000, nearest" in distance.text
    similarity, distance = verdicts(content(ssim=0.5, distance=11.0))
    assert not similarity.is_good, "as good as is no better than"
    assert "does NOT beat" in distance.text


def test_references_are_no_baselines():
    [first, _] = verdicts(content(ssim=0.6))
    assert "oracle" not in first.text


def test_unknown_values_are_skipped():
    unpaired = content(ssim=None)
    assert [verdict.text[:8] for verdict in verdicts(unpaired)] == ["Frechet "]
    unpaired["methods"] = unpaired["methods"][:2]
    assert verdicts(unpaired) == []


@pytest.mark.parametrize("flagged", [False, True])
def test_memorisation_in_plain_words(flagged):
    found = verdicts(content(memorization=AUDIT | {"flagged": flagged}))[-1]
    assert found.is_good is not flagged
    assert ("do not share" in found.text) is flagged
    assert "2 % are nearer" in found.text
    assert "does not prove" in found.text, "the limits are said either way"


def test_a_few_near_copies_are_reported():
    found = verdicts(content(memorization=AUDIT | {"near_copies": 0.1}))[-1]
    assert found.is_good is None
    assert "10 % are nearer" in found.text
    assert "Check the nearest pairs" in found.text


def test_no_audit_is_neither_good_nor_bad():
    found = verdicts(content(memorization={"problem": "no real images"}))[-1]
    assert found.is_good is None
    assert "Not audited: no real images." in found.text
