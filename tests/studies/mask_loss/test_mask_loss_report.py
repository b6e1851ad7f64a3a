import csv
import json

import numpy as np
import pytest

from medusis_tf.config.data import ClassEntry
from medusis_tf.evaluation.painters import TRUE_IMAGE
from medusis_tf.evaluation.segmenters import INDEPENDENT
from medusis_tf.studies.mask_loss.report import (
    StudyRow,
    read_row,
    study_panel,
    study_plot,
    study_table,
    write_results,
)

TRUE = {"outline_dice": 0.98, "dice_fat": 0.9, "invisible": 0.01, "psnr": float("nan")}


def row(seed, mask, steps, dice):
    metrics = {"outline_dice": dice, "dice_fat": 0.5, "invisible": 0.123, "psnr": 12.34}
    return StudyRow(seed, mask, steps, metrics, TRUE)


ROWS = [
    row(0, "off", 10, 0.8),
    row(0, "on", 10, 0.9),
    row(1, "off", 10, 0.9),
    row(1, "on", 10, 0.98),
    row(0, "off", 20, 0.7),
]


def test_the_table_has_lines_for_steps_mask_loss_and_true_image():
    lines = study_table(ROWS).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:-2]]
    assert cells[0] == [
        "steps", "mask loss", "outline Dice", "fat Dice", "invisible grey", "PSNR dB",
    ]  # fmt: skip
    assert cells[2][:3] == ["10", "off", "**0.850** (0.800, 0.900)"]
    assert cells[3][:3] == ["10", "on", "**0.940** (0.900, 0.980)"]
    assert cells[4][:3] == ["20", "off", "**0.700** (0.700)"]
    assert cells[5] == ["true image", "", "0.980", "0.900", "1.0 %", ""]
    assert "12.3 %" in lines[2]
    assert "seeds 0, 1" in lines[-1]


def test_files_have_every_row(tmp_path):
    write_results(tmp_path, ROWS)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content[3] == {
        "seed": 1, "mask": "on", "steps": 10,
        "figures": dict(ROWS[3].metrics), "true_image": {**TRUE, "psnr": None},
    }  # fmt: skip
    with (tmp_path / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(ROWS)
    assert (lines[4]["mask_loss"], lines[4]["steps"], lines[4]["outline_dice"]) == (
        "off",
        "20",
        "0.7",
    )
    assert (tmp_path / "results.md").read_text().startswith("| steps |")


def test_the_plot_shows_both():
    image = study_plot(ROWS)
    assert image.dtype == np.uint8
    for colour in ([194, 87, 26], [31, 111, 178]):
        assert (image == colour).all(axis=-1).sum() > 50


def test_a_panel_has_one_column_per_setting(tmp_path):
    label_map = np.zeros((2, 32, 32), np.uint8)
    paths = {}
    for mask, grey in (("off", -0.5), ("on", 0.5)):
        paths[mask] = tmp_path / f"{mask}.npz"
        image = np.full((2, 32, 32), grey)
        np.savez(paths[mask], label_map=label_map, image=image, slice=[3, 4])
    classes = [ClassEntry(id=0, name="background", colour=(0, 0, 0))]
    image = study_panel(paths, classes, "title")
    for grey in (64, 191):
        assert (image == grey).all(axis=-1).sum() == 2 * 160 * 160


EARLIER_NAME = "true image (text of an earlier version)"


@pytest.mark.parametrize("true_image", [TRUE_IMAGE, EARLIER_NAME])
def test_a_row_is_read_from_an_evaluation(true_image):
    def method(name, dice, psnr):
        outline = {"dice": dice, "pooled_dice": 0, "painted_as_air": 0.1, "invisible": 0.2}
        similarity = {"slice": {"ssim": 0.3, "psnr": psnr}, "body": {"ssim": 0.4, "psnr": 1.0}}
        return {
            "name": name,
            "outline": {key: {"mean": value} for key, value in outline.items()},
            "similarity": {
                part: {key: {"mean": value} for key, value in each.items()}
                for part, each in similarity.items()
            },
            "segmentation": {INDEPENDENT: {"classes": {"fat": {"dice": 0.6}}}},
        }

    methods = [method("model", 0.8, 12.0), method(true_image, 0.98, None)]
    found = read_row({"methods": methods}, 3, "on", 100)
    assert (found.seed, found.mask, found.steps) == (3, "on", 100)
    assert found.metrics == {
        "outline_dice": 0.8, "dice_fat": 0.6, "painted_as_air": 0.1, "invisible": 0.2,
        "ssim": 0.3, "body_ssim": 0.4, "psnr": 12.0,
    }  # fmt: skip
    assert found.true_image["outline_dice"] == pytest.approx(0.98)
    assert np.isnan(found.true_image["psnr"])
