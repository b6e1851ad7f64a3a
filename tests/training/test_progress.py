import io
import logging

from rich.console import Console

from medusis_tf.training.progress import TrainingProgress

LOSSES = {"segmentation": 0.5, "adversarial": 1.25}


def follow(console):
    with TrainingProgress(2, 4, console) as progress:
        progress.advance()
        progress.report(3, LOSSES, 12.34)
        progress.advance()
        progress.report(4, LOSSES, 12.34)


def test_elsewhere_there_is_one_line_per_interval(caplog):
    with caplog.at_level(logging.INFO, "medusis_tf"):
        follow(Console(file=io.StringIO()))
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("step 3/4  adversarial 1.250  segmentation 0.500  12.3 images/s")
    assert len(lines) == 2


def test_a_terminal_of_80_columns_shows_step_speed_and_losses(caplog):
    screen = io.StringIO()
    with caplog.at_level(logging.INFO, "medusis_tf"):
        follow(Console(file=screen, force_terminal=True, width=80))
    shown = screen.getvalue()
    for text in ("4/4", "12.3 images/s", "left", "adversarial 1.250  segmentation 0.500"):
        assert text in shown
    assert not caplog.records
