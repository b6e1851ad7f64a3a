"""Tables of made results: what is shown, and what is left out."""

import math

import pytest

from medusis_tf.metrics.tables import Column, counted
from medusis_tf.reports.evaluation.console import print_evaluation
from medusis_tf.reports.evaluation.tables import cell_text, class_table, evaluation_tables
from tests.reports.evaluation.made_content import CLASSES, content, summary


def titles(results):
    return [table.title for table in evaluation_tables(results)]


def table(results, title):
    [found] = [each for each in evaluation_tables(results) if each.title.startswith(title)]
    return found


def test_a_table_has_a_row_for_each_painter_with_results():
    found = table(content(), "Similarity to the true image, whole slice")
    assert found.columns == ["SSIM", "PSNR dB", "RMSE", "MAE"]
    assert [name for name, _ in found.rows] == ["model", "means"]
    assert found.rows[0][1] == ["0.500", "10.00", "0.100", "0.050"]
    assert "3 slices of 1 patient with a true image" in found.notes[0]


def test_an_empty_column_is_left_out():
    results = content()
    whole = "Similarity to the true image, whole slice"
    assert "MS-SSIM" not in table(results, whole).columns
    results["methods"][0]["similarity"]["slice"]["ms_ssim"] = summary(0.7)
    found = table(results, whole)
    assert [cells[1] for _, cells in found.rows] == ["0.700", "-"]


def test_tables_without_results_are_left_out():
    results = content()
    for method in results["methods"]:
        del method["similarity"]
    del results["methods"][0]["segmentation"]
    del results["memorization"], results["diversity"]
    assert titles(results) == [
        "Outline of the body",
        "Distance to the real images: radiomics features",
    ]


def test_a_distance_has_the_name_of_its_network_and_warns_of_few_slices():
    found = table(content(), "Distance to the real images")
    assert found.columns[0] == "Frechet radiomics distance"
    assert found.rows[0][1] == ["12.35", "0.123 ± 0.01", "-", "-", "-", "-", "3"]
    assert "to 4 real slices" in found.notes[0]
    assert "abcdef" in found.notes[0], "what the features depend on"
    assert "do not have full rank" in found.notes[-1]


def test_segmenters_and_the_audit():
    found = table(content(), "Classes found by: own segmenter")
    assert found.rows == [("model", ["0.600", "0.500", "3.0"])]
    found = table(content(), "Nearest training slices")
    assert [name for name, _ in found.rows] == ["synthetic slices", "held-out real slices"]
    assert "p = - by ratio" in found.notes[-1]


def test_a_row_for_each_class():
    found = class_table(content(), CLASSES)
    assert found.first_column == "class"
    assert found.columns[-3:] == ["Dice, own segmenter", "IoU", "HD95 mm"]
    assert dict(found.rows) == {
        "background": ["0.900", "-", "-", "-", "-", "-"],
        "fat": ["-", "-", "-", "0.600", "0.500", "3.0"],
    }


def test_the_console_shows_all_tables_and_the_verdicts(capsys):
    print_evaluation(content())
    printed = capsys.readouterr().out
    for title in titles(content()):
        assert title in printed
    assert "does NOT beat" in printed


def test_missing_numbers_are_dashes():
    results = content()
    results["methods"][0]["similarity"]["slice"]["ssim"] = summary(math.nan)
    found = table(results, "Similarity to the true image, whole slice")
    assert found.rows[0][1][0] == "-"


@pytest.mark.parametrize("word", ["FID", "LPIPS"])
def test_nothing_is_named_that_was_not_measured(word, capsys):
    print_evaluation(content())
    assert word not in capsys.readouterr().out


NAN = math.nan


def of_patients(mean, deviation=NAN, slice_deviation=NAN, low=NAN, high=NAN):
    return {
        "mean": mean, "standard_deviation": deviation, "slice_standard_deviation": slice_deviation,
        "low": low, "high": high,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (NAN, "-"),
        (1.25, "1.250"),
        (3, "3"),
        ("1 %", "1 %"),
        (of_patients(NAN), "-"),
        (of_patients(0.5), "0.500"),
        (of_patients(0.5, slice_deviation=0.1), "0.500 ± 0.100"),
        (of_patients(0.5, 0.02, 0.1, 0.45, 0.55), "0.500 ± 0.020 [0.450, 0.550]"),
        (of_patients(math.inf), "inf"),
        ({"mean": 0.5, "standard_deviation": None}, "0.500"),
    ],
)
def test_a_cell_shows_what_is_known(cell, text):
    assert cell_text(cell, Column("metric")) == text


def test_digits_of_a_column():
    assert cell_text(1.25, Column("metric", 1)) == "1.2"
    column = Column("metric", is_significant=True)
    assert [cell_text(value, column) for value in (None, 12345.0, 0.00123)] == [
        "-", "12,345", "0.00123",
    ]  # fmt: skip


def test_counts():
    assert (counted(1, "slice"), counted(2, "slice")) == ("1 slice", "2 slices")


def test_the_spread_over_noise_seeds():
    results = content()
    assert not any(title.startswith("Noise seeds") for title in titles(results))
    results["seeds"] = [0, 1, 2]
    dice = results["methods"][0]["outline"]["dice"]
    dice["by_seed"] = {"0": 0.25, "1": 0.68, "2": 0.67}
    found = table(results, "Noise seeds: model")
    assert found.first_column == "metric"
    assert found.columns == ["seed 0", "seed 1", "seed 2", "± over seeds"]
    assert found.rows == [
        ("Outline of the body: outline Dice", ["0.250", "0.680", "0.670", "0.245"])
    ]
    dice["by_seed"]["2"] = None
    assert table(results, "Noise seeds: model").rows[0][1][2:] == ["-", "0.304"]
