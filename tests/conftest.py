"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and none of them timed: a busy machine is not a broken promise.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def pytest_configure(config: pytest.Config) -> None:
    """Give the process two logical CPUs, to stand in for two GPUs; TensorFlow uses the first."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real volumes; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MEDUSIS_DATA", default))
    if not (folder / "sts_ct_mr").is_dir():
        pytest.skip(f"no real volumes in {folder}; set MEDUSIS_DATA to run this test")
    return folder


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same initial weights in every run and in any order of the tests."""
    import keras

    keras.utils.set_random_seed(0)
