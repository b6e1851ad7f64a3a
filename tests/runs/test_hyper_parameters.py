"""The settings and the data of a run in TensorBoard."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.shards.manifest import Manifest
from medusis_tf.runs.hyper_parameters import data_summary, hyper_parameters
from medusis_tf.runs.records import Records
from tests.serving.small_run import experiment, make_run


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return experiment(tmp_path_factory.mktemp("data"), {"noise_dim": 4})


def test_settings_are_named_by_their_place_without_paths_and_subjects(config):
    values = hyper_parameters(config)
    assert values["generator.base_channels"] == 2
    assert values["training.batch_size"] == config.training.batch_size
    assert values["data.image_size"] == "32 x 32"
    assert not [
        key for key in values if key.startswith("data.subject") or key.endswith(("root", "_dir"))
    ]
    assert all(isinstance(value, bool | int | float | str) for value in values.values())
    assert "data.reading.assume_axes" in values or ReadingConfig().assume_axes is None


def test_tensorboard_reads_the_settings(config, tmp_path):
    records = Records(tmp_path, 0)
    records.hyper_parameters(hyper_parameters(config), "small")
    records.close()
    log = EventAccumulator(str(tmp_path / "tensorboard"))
    log.Reload()
    content = log.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert found["generator.base_channels"].number_value == 2
    assert found["data.image_size"].string_value == "32 x 32"


def test_the_data_are_summed_up_without_names(tmp_path_factory):
    values = json.loads((make_run(tmp_path_factory) / "manifest.json").read_text())
    values.pop("provenance", None)
    lines = data_summary(Manifest.model_validate(values)).splitlines()
    assert lines[0].startswith("train: 3 subjects (1 with image, 2 with label_map), ")
    assert lines[1].startswith("test: 1 subjects (1 with image, 1 with label_map), ")
    shares = [float(line.split(": ")[1].split(" %")[0]) for line in lines[2:]]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(100, abs=0.02)
