"""The downstream study on heads and legs, two steps each."""

import json

import pytest
import tensorflow as tf

from medusis_tf.commands.downstream_segmentation import downstream_segmentation
from medusis_tf.methods.experiment import load_config, save_config
from tests.command_runner import run_command

# Keras 3.15 converts its variables to arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def eagerly():
    """Run a few steps without compilation, which takes longer."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(
    ("name", "test_patient", "classes", "painted", "real"),
    [("brain_t1_paired", "IXI048-HH-1326", 12, 5, 5), ("thigh_ct_to_mr", "STS_048", 4, 2, 2)],
)
def test_segmenters_are_tested_on_unseen_patients(
    shared_data, tmp_path, name, test_patient, classes, painted, real
):
    changes = [
        f"data.root={shared_data}",
        f"data.cache_dir={tmp_path / 'cache'}",
        "data.image_size=[64, 64]",
        "segmenter={base_channels: 4, num_levels: 3}",
    ]
    save_config(load_config(name, changes), tmp_path / "config.yaml")
    status, printed, errors = run_command(
        downstream_segmentation, "--config", tmp_path / "config.yaml", "--out", tmp_path / "out",
        "--rows", "mixture,real,fine_tuning", "--fine-tune-patients", "1", "--seeds", "0",
        "--steps", 2, "--draws", 1,
    )  # fmt: skip
    assert status == 0, errors
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert content["test_patients"] == [test_patient]
    assert [(row["row"], row["training_patients"]) for row in content["rows"]] == [
        ("mixture", painted),
        ("real", real),
        ("real_1", 1),
        ("mixture_then_real_1", 1),
    ]
    assert {len(row["classes"]) for row in content["rows"]} == {classes}
    assert "Few patients" in printed
