"""The whole study on synthetic ellipses, two steps each, with the smallest networks."""

import csv
import json

import numpy as np
import pytest

from medusis_tf.commands.downstream_segmentation import downstream_segmentation
from tests.command_runner import run_command, user_error
from tests.serving.small_run import make_model, make_run

# Keras 3.15 converts its variables to arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FEW = ["--steps", 2, "--batch-size", 2, "--draws", 2, "--fine-tune-patients", "1,2"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def study(run_dir, tmp_path_factory):
    """Folder and output of a study with two seeds."""
    out = tmp_path_factory.mktemp("downstream")
    status, printed, errors = run_command(
        downstream_segmentation, "--run", run_dir, "--out", out, "--seeds", "0,1", *FEW
    )
    assert status == 0, errors
    return out, printed


def test_study(study):
    print(study[1])
