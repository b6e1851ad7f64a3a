import json

import pytest

from medusis_tf.studies.noise_study import noise_study
from tests.command_runner import run_command, user_error
from tests.serving.small_run import make_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


def test_truncation_reduces_the_variation(run_dir, tmp_path):
    status, printed, _ = run_command(
        noise_study, "--run", run_dir, "--out", tmp_path / "noise", "--noises", 3
    )
    assert status == 0
    content = json.loads((tmp_path / "noise" / "noise.json").read_text())
    rows = content["rows"]
    assert list(rows) == [f"truncation {bound}" for bound in ("0.5", "1", "1.5", "none")]
    for metric in ("brightness_over_noises", "pairwise_distance"):
        assert 0 < rows["truncation 0.5"][metric] < rows["truncation none"][metric]
    assert "not an FID" in content["frechet_radiomics_distance"]
    assert (tmp_path / "noise" / "noise.md").read_text().strip() in printed
    assert (tmp_path / "noise" / "noise.png").read_bytes().startswith(b"\x89PNG")


def test_invalid_arguments_are_reported(run_dir, tmp_path):
    run = ["--run", run_dir, "--out", tmp_path]
    assert "trained with noise" in user_error(noise_study, *run, "--without", run_dir)
    assert "no subject" in user_error(noise_study, *run, "--split", "validation")
    assert "--split must be" in user_error(noise_study, *run, "--split", "train")
