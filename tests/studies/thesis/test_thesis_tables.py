import csv
import io

import numpy as np
import pytest

from medusis_tf.errors import UserError
from medusis_tf.evaluation.segmenters import EXTERNAL, INDEPENDENT, OWN
from medusis_tf.panels import write_png
from medusis_tf.studies.thesis.files import RowPanel, write_tables
from medusis_tf.studies.thesis.tables import (
    Published,
    TableRow,
    ThesisTable,
    csv_text,
    markdown,
    read_metrics,
)

SLIDES = Published("SynthRAD2023", {"fid": 51.92, "ssim": 0.9984}, "slides", "of two models")
README = Published("AutoPET", {"fid": 10.76}, "README")


def metrics(ssim, thesis_ssim):
    return {"ssim": {"thesis": thesis_ssim, "correct": ssim}}


TABLE = ThesisTable(
    "Unpaired",
    [
        TableRow("OASIS", {0: metrics(0.41, 0.998), 2: metrics(0.43, 0.999)}, [SLIDES]),
        TableRow("wavelet", {}, [README, SLIDES], "not run: no pairs"),
    ],
    ["a note"],
)


def method(**changes):
    mean = {"mean": 0.5}
    return {
        "thesis_protocol": {"ssim": 0.998, "psnr": 18.0, "rmse": 0.12},
        "similarity": {"slice": {"ssim": {"mean": 0.4}, "psnr": {"mean": None}, "rmse": mean}},
        **changes,
    }


def test_both_protocols_are_read_and_missing_values_omitted():
    found = read_metrics(method())
    assert found["ssim"] == {"thesis": 0.998, "correct": 0.4}
    assert found["psnr"] == {"thesis": 18.0}
    assert set(found) == {"ssim", "psnr", "rmse"}
    assert read_metrics({"distribution": {}}) == {}


def test_lpips_prefers_vgg():
    def network(value):
        return {"lpips": {"mean": value}, "lpips_thesis_protocol": {"mean": value / 2}}

    both = method(perceptual={"alexnet": network(0.2), "vgg16": network(0.6)})
    assert read_metrics(both)["lpips"] == {"thesis": 0.3, "correct": 0.6}
    alone = method(perceptual={"alexnet": network(0.2)})
    assert read_metrics(alone)["lpips"] == {"thesis": 0.1, "correct": 0.2}


@pytest.mark.parametrize(
    ("name", "key"), [("FID", "fid"), ("Frechet distance (other Inception weights)", "frechet")]
)
def test_only_the_original_inception_weights_give_fid(name, key):
    inception = {
        "frechet_name": name,
        "frechet_distance": 60.0,
        "kernel_distance": {"mean": 0.01},
    }
    found = read_metrics(method(distribution={"inception": inception, "radiomics": {}}))
    assert found[key] == {"thesis": 60.0, "correct": 60.0}
    assert found["kid"] == {"correct": 0.01}
    assert {"fid", "frechet"} & set(found) == {key}


@pytest.mark.parametrize("segmenter", [INDEPENDENT, EXTERNAL])
def test_segmentation_metrics_need_a_separate_segmenter(segmenter):
    own = {OWN: {"mean_iou": 0.9, "mean_dice": 0.95}}
    assert "miou" not in read_metrics(method(segmentation=own))
    both = {**own, segmenter: {"mean_iou": 0.5, "mean_dice": 0.6}}
    found = read_metrics(method(segmentation=both))
    assert found["miou"] == {"correct": 0.5}
    assert found["dice"] == {"correct": 0.6}


def test_a_row_has_the_mean_each_seed_and_published_values():
    lines = markdown("Tables", ["on phantoms"], [TABLE]).splitlines()
    header = next(line for line in lines if line.startswith("| row"))
    assert header == (
        "| row | SSIM, published | SSIM, thesis protocol, here | SSIM, correct, here "
        "| FID, published |"
    )
    assert (
        "| OASIS | 0.9984 [1] | 0.9985 (0.9980, 0.9990) | 0.4200 (0.4100, 0.4300) | 51.92 [1] |"
        in lines
    )
    assert "1. SynthRAD2023: slides; of two models" in lines
    assert "2. AutoPET: README" in lines


def test_a_missing_row_has_its_reason():
    lines = markdown("Tables", [], [TABLE]).splitlines()
    assert "| wavelet (not run) | 0.9984 [1] | - | - | 10.76 [2], 51.92 [1] |" in lines
    assert "* wavelet: not run: no pairs" in lines


def test_csv_has_every_value_once_and_unrounded():
    lines = list(csv.DictReader(io.StringIO(csv_text([TABLE]))))
    here = [line for line in lines if line["row"] == "OASIS" and line["kind"] == "correct"]
    assert [(line["seed_or_source"], float(line["value"])) for line in here] == [
        ("0", 0.41),
        ("2", 0.43),
    ]
    assert len([line for line in lines if line["kind"] == "published"]) == 2 + 3
    assert [line["seed_or_source"] for line in lines if line["kind"] == "not run"] == [
        "not run: no pairs"
    ]


def test_the_page_is_self_contained_and_marked_private(tmp_path):
    image = tmp_path / "panel.png"
    write_png(image, np.full((8, 8, 3), 90, np.uint8))
    out = tmp_path / "out"
    made = write_tables(out, "A <b> title", ["origin"], [TABLE], [RowPanel("OASIS", image)])
    assert [path.name for path in made] == ["tables.md", "tables.csv", "tables.html"]
    page = (out / "tables.html").read_text()
    assert "default-src 'none'; img-src data:" in page
    assert "Shows slices of real volumes" in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert "A &lt;b&gt; title" in page
    assert not any(text in page for text in ("http://", "https://", "<script", "{%", "{{"))
    for text in ("0.4200 (0.4100, 0.4300)", "51.92 [1]", "not run: no pairs", "a note"):
        assert text in page
    assert sorted(path.name for path in out.iterdir()) == ["tables.csv", "tables.html", "tables.md"]


def test_without_panels_the_page_is_not_marked_private(tmp_path):
    write_tables(tmp_path, "Tables", [], [TABLE], [])
    assert "Shows slices" not in (tmp_path / "tables.html").read_text()


def test_an_unwritable_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write the tables"):
        write_tables(tmp_path / "file" / "out", "Tables", [], [TABLE], [])
