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
        "noise_shape": (64,),
        "image_channels": 1,
        "intensity": IntensityScale((3.5, 812.0), (-1.0, 1.0)),
        "config": {"seed": 0},
        "trained": {},
        "exported": {},
        **changes,
    }
    return ModelMetadata(**values)


def test_metadata_can_be_written_and_read(tmp_path):
    write_metadata(metadata(), tmp_path)
    assert read_metadata(tmp_path) == metadata()


@pytest.mark.parametrize(
    ("older", "noise_shape"),
    [
        ({"noise_dim": 64}, (64,)),
        ({"noise_dim": 64, "class_noise": False}, (64,)),
        ({"noise_dim": 64, "class_noise": True}, (1, 64)),
        ({"noise_dim": 0, "class_noise": False}, (0,)),
    ],
)
def test_metadata_of_older_models_can_be_read(tmp_path, older, noise_shape):
    write_metadata(metadata(), tmp_path)
    path = tmp_path / METADATA_PATH
    values = json.loads(path.read_text())
    del values["noise_shape"]
    path.write_text(json.dumps(values | older))
    found = read_metadata(tmp_path)
    assert found == metadata(noise_shape=noise_shape)
    assert found.has_noise == (noise_shape != (0,))


def test_invalid_metadata_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*medusis.json: No such file"):
        read_metadata(tmp_path)
    write_metadata(metadata(), tmp_path)
    path = tmp_path / METADATA_PATH
    for text in ("{", "[]", json.dumps({**json.loads(path.read_text()), "format_version": 2})):
        path.write_text(text)
        with pytest.raises(UserError, match="not the metadata of a medusis_tf model of format 1"):
            read_metadata(tmp_path)
