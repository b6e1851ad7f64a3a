"""The gallery of a small run: files, failures, and no real image where none may be."""

import re

import numpy as np
import pytest
from matplotlib.image import imread

from medusis_tf.commands.gallery import gallery
from medusis_tf.reports.gallery import class_dice
from tests.command_runner import run_command, user_error
from tests.serving.small_run import make_model, make_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def shown(run_dir, tmp_path_factory):
    def show(*options):
        out = tmp_path_factory.mktemp("gallery")
        status, printed, _ = run_command(gallery, "--run", run_dir, "--out", out, *options)
        assert status == 0
        return out, printed

    return show


def test_every_subject_and_the_failures_have_a_file(shown):
    out, printed = shown("--mean-of", 2, "--failures", 2)
    assert sorted(path.name for path in out.iterdir()) == [
        "d.png", "failures.png", "gallery.html", "written_files.json",
    ]  # fmt: skip
    page = (out / "gallery.html").read_text()
    assert re.findall(r'src="([^"]*)"', page) == ["d.png", "failures.png"]
    assert "Shows slices of real volumes" in page
    assert "lowest SSIM inside the body" in page
    assert f"wrote {out / 'gallery.html'}" in printed


def test_without_real_images_there_are_two_columns_less(shown):
    options = ("--seeds", "0,1", "--mean-of", 0, "--slices", 1, "--cuts", 0, "--failures", 0)
    with_real, without = shown(*options)[0], shown(*options, "--without-real-images")[0]
    images = [imread(folder / "d.png") for folder in (with_real, without)]
    assert images[0].shape[0] == images[1].shape[0]
    # Label map, real MR, two samples and the error map against label map and samples.
    margins = images[0].shape[1] - (images[0].shape[1] - images[1].shape[1]) * 5 / 2
    assert 0 < margins < 60
    assert "synthetic images only" in (without / "gallery.html").read_text()
    assert not (without / "failures.png").exists()


def test_a_cut_is_one_more_row(shown):
    options = ("--seeds", 0, "--mean-of", 0, "--slices", 2, "--failures", 0)
    heights = [imread(shown(*options, "--cuts", cuts)[0] / "d.png").shape[0] for cuts in (0, 1, 2)]
    assert heights[2] - heights[1] == heights[1] - heights[0] > 160


def test_no_real_image_of_an_earlier_gallery_is_left(shown, run_dir):
    options = ("--seeds", 0, "--mean-of", 0, "--slices", 1)
    out, _ = shown(*options)
    (out / "notes.txt").write_text("mine")
    before = (out / "d.png").read_bytes()
    arguments = ("--run", run_dir, "--out", out, *options, "--without-real-images")
    assert run_command(gallery, *arguments, "--failures", 0)[0] == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert not (out / "failures.png").exists()
    assert (out / "d.png").read_bytes() != before
    # What is not known to come from a gallery is left, and nothing is written beside it.
    (out / "mr_of_a_patient.PNG").write_bytes(before)
    message = user_error(gallery, *arguments)
    assert "no gallery wrote, or that were changed since: mr_of_a_patient.PNG" in message
    (out / "mr_of_a_patient.PNG").unlink()
    (out / "d.png").write_bytes(before)
    assert "changed since: d.png" in user_error(gallery, *arguments)
    assert (out / "d.png").read_bytes() == before


def test_dice_of_the_classes_of_a_label_map():
    label_map = np.array([[0, 1, 1, 1], [2, 2, 0, 0]])
    found = np.array([[0, 1, 1, 3], [0, 0, 0, 0]])
    # 2 * 2 / (3 + 2) for class 1, none of class 2 found; class 3 is not asked for.
    assert class_dice(label_map, found) == pytest.approx((0.8 + 0) / 2)
    assert np.isnan(class_dice(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8)))


def test_what_cannot_be_shown_is_refused(run_dir, tmp_path_factory, tmp_path):
    arguments = ("--out", tmp_path)
    assert "either --run DIR" in user_error(gallery, *arguments)
    model = make_model(tmp_path_factory)
    assert "either --run DIR" in user_error(gallery, *arguments, "--model", model)
    message = user_error(gallery, *arguments, "--run", run_dir, "--split", "validation")
    assert "no slice with a label map" in message
    (tmp_path / "file").write_text("")
    assert "cannot make" in user_error(gallery, "--run", run_dir, "--out", tmp_path / "file" / "x")
