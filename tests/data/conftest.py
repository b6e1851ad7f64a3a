"""A phantom data set, written and prepared once per session."""

from pathlib import Path

import pytest

from medusis_tf.config.data import Subject
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.phantom import write_phantom_dataset
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.shards.shards import Shards
from tests.data.volume_files import phantom_experiment


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Subject, ...]]:
    folder = tmp_path_factory.mktemp("phantom")
    return folder, write_phantom_dataset(folder, 2, 3, shape=(64, 64, 12), seed=3)


@pytest.fixture(scope="session")
def prepared(phantom, tmp_path_factory) -> tuple[ExperimentConfig, Shards]:
    folder, subjects = phantom
    cache = tmp_path_factory.mktemp("cache")
    config = phantom_experiment(folder, cache, subjects, field_of_view_mm=[128, 128])
    return config, prepare_shards(config)
