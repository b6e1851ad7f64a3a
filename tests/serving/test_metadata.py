import json

import pytest

from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.errors import UserError
from medusis_tf.serving.metadata import (
    METADATA_PATH,
    ModelMetadata,
    read_metadata,
    write_metadata,
)


def metadata(**changes):
    values = {
        "name": "thigh",
        "step": 1000,
        "classes": [ClassEntry(id=0, name="background", colour=(0, 0, 0))],
        "image_size": (128, 128),
        "spacing_mm": (1.25, 1.25),
        "stride": 32,
        "noise_dim": 64,
        "image_channels": 1,
        "intensity": IntensityScale((3.5, 812.0), (-1.0, 1.0)),
        "config": {"seed": 0},
        "trained": {},
        "exported": {},
        **changes,
    }
    return ModelMetadata(**values)


def test_what_was_written_is_read(tmp_path):
    write_metadata(metadata(), tmp_path)
    assert read_metadata(tmp_path) == metadata()


def test_noise_shape_is_that_of_the_endpoints():
    assert metadata().noise_shape == (64,)
    assert metadata(noise_dim=0).noise_shape == (0,)
    assert metadata(class_noise=True).noise_shape == (1, 64)


def test_a_model_exported_before_there_was_class_noise_is_read(tmp_path):
    write_metadata(metadata(), tmp_path)
    path = tmp_path / METADATA_PATH
    values = json.loads(path.read_text())
    del values["class_noise"]
    path.write_text(json.dumps(values))
    assert read_metadata(tmp_path) == metadata()


def test_foreign_metadata_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*medusis.json: No such file"):
        read_metadata(tmp_path)
    write_metadata(metadata(), tmp_path)
    path = tmp_path / METADATA_PATH
    for text in ("{", "[]", json.dumps({**json.loads(path.read_text()), "format_version": 2})):
        path.write_text(text)
        with pytest.raises(UserError, match="not the metadata of a medusis_tf model of format 1"):
            read_metadata(tmp_path)
