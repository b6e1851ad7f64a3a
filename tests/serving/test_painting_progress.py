import io
import logging

from rich.console import Console

from medusis_tf.serving.painting_progress import PaintingProgress


def follow(console):
    with PaintingProgress("labels.nii.gz", 2, console) as progress:
        for sample in range(2):
            for done in (8, 10):
                progress.report(sample, done, 10)


def test_elsewhere_one_line_says_how_many_and_how_fast(caplog):
    with caplog.at_level(logging.INFO, "medusis_tf"):
        follow(Console(file=io.StringIO()))
    (record,) = caplog.records
    assert record.getMessage().startswith("painted 20 slices, ")
    assert record.getMessage().endswith(" slices/s")


def test_a_terminal_shows_slices_of_all_samples_speed_and_time_left():
    screen = io.StringIO()
    follow(Console(file=screen, force_terminal=True, width=100))
    for text in ("painting labels.nii.gz", "20/20", "slices/s", "left"):
        assert text in screen.getvalue()


def test_nothing_painted_is_nothing_said(caplog):
    with caplog.at_level(logging.INFO), PaintingProgress("a", 1, Console(file=io.StringIO())):
        pass
    assert not caplog.records
