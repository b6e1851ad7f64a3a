"""Tables of made figures: what is shown, and what is left out."""

import math

import pytest

from medusis_tf.reports.evaluation.console import print_evaluation
from medusis_tf.reports.evaluation.table import class_table
from medusis_tf.reports.evaluation.tables import evaluation_tables
from tests.reports.evaluation_content import CLASSES, content, summary


def titles(figures):
    return [table.title for table in evaluation_tables(figures)]


def table(figures, title):
    [found] = [each for each in evaluation_tables(figures) if each.title.startswith(title)]
    return found


def test_every_table_has_a_line_for_each_method_that_has_its_figures():
    found = table(content(), "Similarity to the true image, whole slice")
    assert found.columns == ["SSIM", "PSNR dB", "RMSE", "MAE"]
    assert [name for name, _ in found.rows] == ["model", "means"]
    assert found.rows[0][1] == ["0.500", "10.00", "0.100", "0.050"]
    assert "3 slices of 1 patient with a true image" in found.notes[0]


def test_a_column_that_nobody_has_is_left_out():
    figures = content()
    whole = "Similarity to the true image, whole slice"
    assert "MS-SSIM" not in table(figures, whole).columns
    figures["methods"][0]["similarity"]["slice"]["ms_ssim"] = summary(0.7)
    found = table(figures, whole)
    assert [cells[1] for _, cells in found.rows] == ["0.700", "-"]


def test_tables_of_figures_that_are_not_there_are_left_out():
    figures = content()
    for method in figures["methods"]:
        del method["similarity"]
    del figures["methods"][0]["segmentation"]
    del figures["memorization"], figures["diversity"]
    assert titles(figures) == [
        "Outline of the body",
        "Distance to the real images: radiomics features",
    ]


def test_a_distance_is_called_by_its_network_and_warned_of():
    found = table(content(), "Distance to the real images")
    assert found.columns[0] == "Frechet radiomics distance"
    assert found.rows[0][1] == ["12.35", "0.123 ± 0.01", "-", "-", "-", "-", "3"]
    assert "against 4 real slices" in found.notes[0]
    assert "abcdef" in found.notes[0], "what the features depend on"
    assert "no full rank" in found.notes[-1]


def test_segmenters_and_the_audit():
    found = table(content(), "Classes found by: own segmenter")
    assert found.rows == [("model", ["0.600", "0.500", "3.0"])]
    found = table(content(), "Nearest training slices")
    assert [name for name, _ in found.rows] == ["synthetic slices", "held-out real slices"]
    assert "p = - by ratio" in found.notes[-1]


def test_a_line_for_each_class():
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


def test_numbers_that_do_not_exist_are_dashes():
    figures = content()
    figures["methods"][0]["similarity"]["slice"]["ssim"] = summary(math.nan)
    found = table(figures, "Similarity to the true image, whole slice")
    assert found.rows[0][1][0] == "-"


@pytest.mark.parametrize("word", ["FID", "LPIPS"])
def test_nothing_is_named_that_was_not_measured(word, capsys):
    print_evaluation(content())
    assert word not in capsys.readouterr().out
