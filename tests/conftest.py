"""Fixtures shared by all tests."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, without a time limit: machines may be busy.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the processors: more threads would only wait for each other.
    for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, "1")


# Files of one or two minutes. They come first, so that no process works alone at the end.
LONG = (
    "benchmarks/test_kill_campaign.py",
    "training/test_multi_worker.py",
    "test_examples.py",
    "training/test_distribution.py",
    "training/test_loop.py",
    "methods/diffusion/test_diffusion.py",
    "test_packaging.py",
    "parity/test_generators.py",
    "benchmarks/test_training_step.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files first."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_configure(config: pytest.Config) -> None:
    """Set up two logical CPUs, as a stand-in for two GPUs; TensorFlow uses the first."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # pytest-xdist runs the tests in other processes
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real volumes; tests that need it skip if it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MEDUSIS_DATA", default))
    if not (folder / "sts_ct_mr").is_dir():
        pytest.skip(f"no real volumes in {folder}; set MEDUSIS_DATA to run this test")
    return folder


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Give each test the same initial weights in every run, in any order of the tests."""
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def quiet_log() -> None:
    """Undo what a command in an earlier test did to the log of the package."""
    logger = logging.getLogger("medusis_tf")
    logger.handlers, logger.propagate = [], True
    logger.setLevel(logging.NOTSET)
