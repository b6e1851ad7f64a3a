import json
import os

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
        "classes": [
            ClassEntry(id=0, name="background", colour=(0, 0, 0)),
            ClassEntry(id=1, name="bone", colour=(255, 255, 255)),
        ],
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
        ({"noise_dim": 64, "class_noise": True}, (2, 64)),
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
    for text in ("{", "[]", '"text"', "[" * 100_000 + "]" * 100_000, '{"step": NaN}'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"description is damaged: .*medusis.json: .*again\.$"):
            read_metadata(tmp_path)
    write_metadata(metadata(), tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 2}))
    with pytest.raises(UserError, match="has format 2, which a later version"):
        read_metadata(tmp_path)


BACKGROUND = {"id": 0, "name": "background", "colour": [0, 0, 0]}
BONE = {"id": 1, "name": "bone", "colour": [9, 9, 9]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": []}, "classes: .*at least 2"),
        ({"classes": [BACKGROUND, {**BONE, "name": "background"}]}, "unique"),
        ({"classes": [BONE, BACKGROUND]}, "in order"),
        ({"classes": [BACKGROUND, BACKGROUND]}, "in order"),
        ({"image_size": [63, 63]}, "63 is not divisible by the stride 32"),
        ({"image_size": [1_000_000, 1_000_000]}, "image_size"),
        ({"image_size": [1e30, 1e30]}, "image_size"),
        ({"image_size": [0, 0]}, "image_size"),
        ({"stride": 0}, "stride"),
        ({"name": "x" * 10**6}, "name: .*at most 200"),
        ({"name": "a\ud800"}, "name"),
        ({"spacing_mm": [-1, 1]}, "spacing_mm"),
        ({"spacing_mm": [1e400, 1]}, "Infinity|spacing_mm"),
        ({"intensity": {"source": [5, 5], "scaled": [-1, 1]}}, "increase"),
        ({"config": {"data": {"reading": {"assume_axes": 3}}}}, "reading: assume_axes"),
        ({"config": {"data": {"unlisted": "nothing"}}}, "unknown classes"),
        ({"config": 3}, "config"),
        ({"label_sources": {"tool": {"1": 5}}}, "label_sources"),
    ],
)
def test_damaged_metadata_are_refused_in_one_line(tmp_path, change, message):
    write_metadata(metadata(), tmp_path)
    path = tmp_path / METADATA_PATH
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=f"description is damaged: .*({message})") as caught:
        read_metadata(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pipe_in_place_of_the_metadata_is_refused(tmp_path):
    (tmp_path / METADATA_PATH).parent.mkdir()
    os.mkfifo(tmp_path / METADATA_PATH)
    with pytest.raises(UserError, match=r"is damaged: .*: it is not a file\."):
        read_metadata(tmp_path)


def test_models_exported_earlier_have_the_tables_in_their_configuration(tmp_path):
    table = {"tool": {47: "bone"}}
    write_metadata(metadata(config={"data": {"label_sources": table}}), tmp_path)
    path = tmp_path / METADATA_PATH
    values = json.loads(path.read_text())
    del values["label_sources"], values["voxel_mm"]
    path.write_text(json.dumps(values))
    assert read_metadata(tmp_path).label_sources == table
