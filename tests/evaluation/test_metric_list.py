"""Metrics of other packages, as entry points of a distribution on the search path."""

import json
import sys

import pytest

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.errors import UserError
from medusis_tf.evaluation.metric_list import METRICS, all_metrics
from tests.command_runner import run_command
from tests.serving.small_run import make_run

MODULE = """
import numpy as np

from medusis_tf.metrics import Column, Metric, PatientValues, summary_table


class BrightnessMeasure:
    def __init__(self):
        self.values = PatientValues()

    def update(self, subject, images, seed=0):
        self.values.add(subject.patient, "mean", images.mean(axis=(1, 2)), seed)

    def results(self):
        return self.values.summaries()


class BrightnessMetric(Metric):
    def measures(self, is_model=True):
        return {"brightness": BrightnessMeasure()}

    @staticmethod
    def tables(content):
        yield summary_table(content, "brightness", "Brightness", {"mean": Column("mean level", 2)})
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that installs a package with an entry point."""

    def install(value):
        (tmp_path / "brightness_package.py").write_text(MODULE)
        info = tmp_path / "brightness_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brightness-package\n")
        (info / "entry_points.txt").write_text(f"[medusis_tf.metrics]\nbrightness = {value}\n")
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    sys.modules.pop("brightness_package", None)


def test_without_other_packages_there_are_only_the_listed_metrics():
    assert all_metrics() == METRICS


def test_a_metric_of_another_package_has_results_and_a_table(package, tmp_path, tmp_path_factory):
    package("brightness_package:BrightnessMetric")
    run = ["--run", make_run(tmp_path_factory), "--out", tmp_path / "out", "--no-audit"]
    status, printed, _ = run_command(evaluate, *run, "--no-baselines")
    assert status == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    found = content["methods"][0]["brightness"]["mean"]
    assert found["slices"] == 3 * 5
    assert set(found["by_seed"]) == {"0", "1", "2"}
    assert "Brightness" in printed
    assert "mean level" in printed
    assert "<h3>Brightness</h3>" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("brightness_package:nothing", "brightness of brightness-package cannot be loaded"),
        ("brightness_package:BrightnessMeasure", "must name a subclass of"),
    ],
)
def test_another_entry_point_is_refused(package, value, message):
    package(value)
    with pytest.raises(UserError, match=message):
        all_metrics()
