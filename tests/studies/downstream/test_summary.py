import numpy as np
import pytest
from scipy import stats

from medusis_tf.studies.downstream.rows import Row
from medusis_tf.studies.downstream.scores import ClassScore
from medusis_tf.studies.downstream.summary import (
    Result,
    all_tests,
    as_content,
    collect,
    paired_test,
)
from medusis_tf.studies.downstream.tables import csv_text, study_tables, study_verdicts

nan = float("nan")


def result(row, seed, *dice):
    """A result with the Dice of (patient, class) and an HD95 of 2 mm where the Dice is not 0."""
    scores = {
        f"p{number}": {
            f"c{k}": ClassScore(value, nan if not value > 0 else 2.0, value == 0)
            for k, value in enumerate(values)
        }
        for number, values in enumerate(dice)
    }
    return Result(row, seed, ("t1", "t2"), scores)


@pytest.fixture
def rows():
    synthetic, real = Row("synthetic"), Row("real")
    return collect(
        [
            result(synthetic, 0, (0.8, 0.6), (0.4, nan)),
            result(synthetic, 1, (0.6, 0.0), (0.6, nan)),
            result(real, 0, (1.0, 0.8), (0.5, nan)),
            result(Row("real", 1), 0, (0.2, 0.2), (0.2, nan)),
            result(Row("real", 1, "synthetic"), 0, (0.9, 0.7), (0.6, nan)),
        ]
    )


def test_means_are_over_classes_then_patients_then_seeds(rows):
    synthetic = rows["synthetic"]
    np.testing.assert_allclose(synthetic.by_patient, [0.5, 0.5])
    np.testing.assert_allclose(synthetic.by_seed, [0.55, 0.45])
    assert synthetic.mean_dice == pytest.approx(0.5)
    np.testing.assert_allclose(synthetic.by_class, [0.6, 0.3])
    assert synthetic.not_found == 1
    assert synthetic.mean_hd95_mm == 2
    content = {row["row"]: row for row in as_content(rows)["rows"]}
    assert content["real"]["ratio_to_upper_bound"] == 1
    assert content["synthetic"]["ratio_to_upper_bound"] == pytest.approx(0.5 / 0.7)
    assert content["synthetic"]["by_seed"] == pytest.approx({"0": 0.55, "1": 0.45})
    assert content["synthetic"]["deviation_over_seeds"] == pytest.approx(
        np.std([1, 0]) * 0.1414, 1e-3
    )


@pytest.mark.parametrize("count", [3, 6, 9])
def test_p_is_that_of_all_sign_patterns(count):
    """Differences of 1, 2, 4, ...: their order is that of their ranks, as in Wilcoxon's test."""
    differences = 2.0 ** np.arange(count) * 1e-3
    differences[0] *= -1
    one, other = collect(
        [
            result(Row("synthetic"), 0, *[(0.5 + d,) for d in differences]),
            result(Row("mixture"), 0, *[(0.5,)] * count),
        ]
    ).values()
    found = paired_test(one, other)
    assert found.attainable == 2 / 2**count
    assert found.difference == pytest.approx(differences.mean())
    assert found.p == pytest.approx(4 / 2**count)
    wilcoxon = stats.wilcoxon(differences, method="exact").pvalue
    assert found.p == pytest.approx(wilcoxon)


def compared(differences):
    """The test of two rows whose patients differ so much; NaN for no class in the first."""
    return paired_test(
        *collect(
            [
                result(Row("synthetic"), 0, *[(0.5 + d,) for d in differences]),
                result(Row("mixture"), 0, *[(0.5,)] * len(differences)),
            ]
        ).values()
    )


@pytest.mark.parametrize("count", [14, 16])
def test_p_is_exact_up_to_sixteen_patients(count):
    differences = 0.01 + 0.001 * np.arange(count)
    found = compared(differences)
    assert found.is_exact
    assert found.p == found.attainable == 2 / 2**count


def test_p_of_more_patients_has_the_resolution_of_the_patterns_drawn():
    found = compared(0.01 + 0.001 * np.arange(30))
    assert not found.is_exact
    assert found.p == pytest.approx(found.attainable, rel=1e-6)
    assert 2 / 2**30 < found.attainable < 1e-4


def test_patients_without_a_dice_are_left_out():
    differences = [0.1, nan, 0.2, 0.3]
    found = compared(differences)
    assert (found.p, found.attainable, found.patients) == (0.25, 0.25, 3)
    assert found.difference == pytest.approx(0.2)
    alone = compared([nan, 0.1])
    assert np.isnan(alone.p)
    nobody = compared([nan, nan])
    assert np.isnan([nobody.p, nobody.difference]).all()


def test_the_tables_say_which_patients_and_patterns_p_is_of():
    many, few = (
        study_tables(
            collect(
                [
                    result(Row("synthetic"), 0, *[(0.6,)] * count, (nan,)),
                    result(Row("mixture"), 0, *[(0.5,)] * count, (nan,)),
                ]
            )
        )[0].notes[-1]
        for count in (20, 3)
    )
    assert "exact" not in many
    assert "no p below 3.1e-05" in many
    assert few.startswith("p: exact permutation test")
    assert "without 1 patient that had no Dice" in few


def test_one_patient_gives_no_p():
    one, other = collect(
        [
            result(Row("synthetic"), 0, (0.7,)),
            result(Row("mixture"), 0, (0.5,)),
        ]
    ).values()
    found = paired_test(one, other)
    assert np.isnan(found.p)
    assert (found.attainable, found.patients) == (1, 1)


def test_synthetic_images_are_compared_with_everything_beside_them(rows):
    pairs = [(test.row, test.against) for test in all_tests(rows)]
    assert pairs == [("synthetic", "real"), ("synthetic_then_real_1", "real_1")]


def test_tables_show_classes_patients_and_pre_training(rows):
    tables = {table.title: table for table in study_tables(rows)}
    assert [name for name, _ in tables["Dice by class"].rows] == ["c0", "c1"]
    assert tables["Dice by class"].rows[1] == ("c1", ["0.300", "0.800"])
    assert tables["Dice by patient"].columns == ["synthetic", "real"]
    main = dict(tables["Segmenters, tested on real MR"].rows)
    assert main["synthetic MR"][:4] == ["2", "0.500", "0.071", "71.4 %"]
    assert main["synthetic MR"][5] == "1"
    tuned = tables["Pre-training"]
    assert list(tuned.columns) == ["none", "synthetic MR", "p against none"]
    assert tuned.rows == [("1", ["0.200", "0.700", "0.5"])]


def test_verdicts_are_honest(rows):
    found = {verdict.title: verdict for verdict in study_verdicts(rows)}
    assert found["Synthetic MR only"].is_good is False
    assert "71 % of 0.700" in found["Synthetic MR only"].text
    assert found["Pre-training, then 1 patient"].is_good is True
    assert "no p below 0.5" in found["Few patients"].text


def test_csv_has_a_line_for_each_class_of_each_patient():
    text = csv_text([result(Row("synthetic"), 3, (0.25, nan))])
    assert text.splitlines() == [
        "row,seed,patient,class,dice,hd95_mm",
        "synthetic,3,p0,c0,0.25,2.0",
        "synthetic,3,p0,c1,,",
    ]
