"""What progress displays show on a terminal, and what they log elsewhere."""

import logging

import pytest
import yaml

from medusis_tf.progress import (
    EvaluationProgress,
    PaintingProgress,
    PreparationProgress,
    TrainingProgress,
)
from tests.data.small_subjects import small_experiment, write_cohort
from tests.terminal import COLUMNS, run_on_terminal


@pytest.fixture
def log(capsys, caplog):
    """The log, where stdout is not a terminal."""
    caplog.set_level(logging.INFO, "medusis_tf")
    return caplog


def show(folder, body, status=0):
    """Rows of a terminal on which a command has run `body`, without empty ones."""
    script = folder / "command.py"
    script.write_text(
        "import logging, time\n"
        "from medusis_tf import progress as displays\n"
        "from medusis_tf.console import run\n"
        "from medusis_tf.errors import UserError\n"
        "logger = logging.getLogger('medusis_tf.test')\n"
        f"def command() -> None:\n{body}\n"
        "run(command)\n"
    )
    found, rows = run_on_terminal(script)
    assert found == status, "\n".join(rows)
    return [row.rstrip() for row in rows if row.strip()]


TRAINING = """
    with displays.TrainingProgress(0, 60, 4) as progress:
        for step in range(1, 61):
            progress.advance()
            if step % 2 == 0:
                progress.report(step, {f"loss_{n}": step + n / 8 for n in range(8)}, 12.34)
            if step % 3 == 0:
                logger.info("step %d  validation  outline_dice 0.9%02d", step, step)
            if step % 4 == 0:
                logger.info("saved /runs/%s/step-%d", "/".join(["long_folder"] * 8), step)
            time.sleep(0.02)
    logger.info("done: /runs/quickstart")
"""


def test_every_line_of_a_training_survives_on_a_terminal(tmp_path):
    rows = show(tmp_path, TRAINING)
    folder = "/".join(["long_folder"] * 8)
    expected = []
    for step in range(1, 61):
        if step % 3 == 0:
            expected.append(f"step {step}  validation  outline_dice 0.9{step:02d}")
        if step % 4 == 0:
            path = f"saved /runs/{folder}/step-{step}"
            expected += [path[:COLUMNS], path[COLUMNS:]]
    assert rows[: len(expected)] == expected
    bar, *losses, last = rows[len(expected) :]
    assert bar.startswith("step 60/60 ━") and "12.3 images/s" in bar and bar.endswith("images/s")
    assert "".join(losses).startswith("loss_0 60.000  loss_1 60.125")
    assert last == "done: /runs/quickstart"


def test_an_error_in_a_training_is_below_its_last_display(tmp_path):
    body = """
    with displays.TrainingProgress(0, 4, 4) as progress:
        progress.advance()
        progress.report(1, {"adversarial": 1.0}, 12.34)
        logger.info("saved")
        time.sleep(0.3)
        raise UserError("the training diverged.")
"""
    saved, bar, *rest = show(tmp_path, body, status=2)
    assert saved == "saved"
    assert bar.startswith("step 1/4 ")
    assert rest == ["adversarial 1.000", "error: the training diverged."]


def test_a_training_elsewhere_is_one_line_per_report(log, capsys):
    with TrainingProgress(2, 1004, batch_size=8) as progress:
        for step in (3, 4, 1004):
            progress.advance()
            progress.report(step, {"segmentation": 0.5, "adversarial": 1.25}, 12.5)
    losses = "adversarial 1.250  segmentation 0.500  12.5 images/s"
    assert log.messages == [
        "compiling the first step, for up to a minute on a CPU",
        f"step 3/1004  {losses} (compilation included)",
        f"step 4/1004  {losses}  0:10:40 left",
        f"step 1004/1004  {losses}",
    ]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_subject_of_a_check_survives_on_a_terminal(tmp_path, jobs):
    subjects = write_cohort(tmp_path / "root")[:5]
    config = small_experiment(tmp_path / "root", tmp_path / "cache", subjects)
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    arguments = ("-m", "medusis_tf.prepare", "--config", path, "--check", "--jobs", jobs)
    status, rows = run_on_terminal(*arguments)
    rows = [row.rstrip() for row in rows if row.strip()]
    assert status == 0, "\n".join(rows)
    assert sorted(rows[:5]) == sorted(f"{s['subject']}: kept 6 of 6 slices" for s in subjects)
    bar, *_, total = rows[5:]
    assert bar.startswith("subjects checked 5/5 ━")
    assert total == "5 subjects, 30 slices, 0 warnings"


def test_messages_of_several_lines_survive_on_a_terminal(tmp_path):
    body = """
    with displays.PreparationProgress(5, "converted") as progress:
        for number in range(5):
            progress.advance(f"mr_{number}: kept 6 of 9 slices\\n  warning: it is [dark]")
            time.sleep(0.15)
"""
    rows = show(tmp_path, body)
    lines = [(f"mr_{n}: kept 6 of 9 slices", "  warning: it is [dark]") for n in range(5)]
    assert rows[:10] == [line for pair in lines for line in pair]
    assert rows[10].startswith("subjects converted 5/5 ━")
    assert len(rows) == 11


def test_subjects_elsewhere_are_lines_alone(log, capsys):
    with PreparationProgress(1, "converted") as progress:
        progress.advance("ct_1: kept 6 of 6 slices")
    assert log.messages == ["ct_1: kept 6 of 6 slices"]
    assert capsys.readouterr().out == ""


PAINTING = """
    with displays.PaintingProgress("labels.nii.gz", 2) as progress:
        for sample in range(2):
            for done in (8, 10):
                progress.report(sample, done, 10)
                time.sleep(0.3)
        logger.info("wrote labels_0000.nii.gz")
"""


def test_synthesis_on_a_terminal_leaves_the_lines_and_a_summary(tmp_path):
    written, summary = show(tmp_path, PAINTING)
    assert written == "wrote labels_0000.nii.gz"
    assert summary.startswith("painted 20 slices, ") and summary.endswith(" slices/s")


def test_synthesis_elsewhere_logs_a_summary(log):
    with PaintingProgress("labels.nii.gz", 2) as progress:
        for sample in range(2):
            for done in (8, 10):
                progress.report(sample, done, 10)
    (summary,) = log.messages
    assert summary.startswith("painted 20 slices, ") and summary.endswith(" slices/s")


def test_synthesis_without_a_slice_logs_nothing(log):
    with PaintingProgress("labels.nii.gz", 1):
        pass
    assert not log.messages


def test_an_evaluation_on_a_terminal_has_a_bar_for_each_method(tmp_path):
    body = """
    with displays.EvaluationProgress() as progress:
        for method in ("model", "class means"):
            for done in range(1, 4):
                progress.report(method, done, 3)
            logger.info("%s is done", method)
"""
    first, second, model, means = show(tmp_path, body)
    assert (first, second) == ("model is done", "class means is done")
    assert model.startswith("model ") and "3/3 subjects" in model
    assert means.startswith("class means ━") and "3/3 subjects" in means


def test_an_evaluation_elsewhere_logs_each_finished_method(log, capsys):
    with EvaluationProgress() as progress:
        progress.report("model", 1, 2)
        progress.report("model", 2, 2)
    assert log.messages == ["model: evaluated 2/2 subjects"]
    assert capsys.readouterr().out == ""
