"""The JSON schema accepts what `load_config` accepts, and reports mistakes."""

import functools
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from medusis_tf.config.yaml_files import merge
from medusis_tf.methods.experiment import DEFAULT_METHOD, save_config
from medusis_tf.reports.configuration.schema import configuration_schema
from tests.training.tiny_experiment import CLASSES, tiny_experiment

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
SUBJECT = {"subject": "a", "label_map": "a.nii", "image": "b.nii"}
SMALL = {
    "name": "small",
    "data": {"taxonomy": "classes.yaml", "manifest": "subjects.csv"},
    "generator": {"name": "oasis"},
}


@pytest.fixture(scope="module")
def validator():
    return validator_of(DEFAULT_METHOD)


@functools.cache
def validator_of(method):
    schema = configuration_schema(method)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def is_valid(validator, values):
    # As an editor sees it: keys are text, tuples are lists.
    return validator.is_valid(json.loads(json.dumps(values)))


def changed(*without, **data):
    values = merge(SMALL, {"data": data})
    return {**values, "data": {k: v for k, v in values["data"].items() if k not in without}}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_is_valid(path):
    values = yaml.safe_load(path.read_text())
    validator_of(values.get("method", DEFAULT_METHOD)).validate(values)


def test_a_saved_configuration_is_valid(validator, tmp_path):
    save_config(tiny_experiment(), tmp_path / "config.yaml")
    validator.validate(yaml.safe_load((tmp_path / "config.yaml").read_text()))


@pytest.mark.parametrize(
    "values",
    [
        SMALL,
        {**{k: v for k, v in SMALL.items() if k != "generator"}, "preset": "thesis"},
        {**SMALL, "preset": "thesis", "generator": {"num_blocks": 5}},
        {**SMALL, "preset": "thesis", "optimizers": {"generator": {"beta_1": 0.5}}},
        {**SMALL, "discriminator": {"base_channels": 32}},
        {**SMALL, "discriminator": {"name": "patch", "num_strided": 2}},
        changed("taxonomy", classes=CLASSES),
        changed("manifest", subjects=[SUBJECT], splits={"train": 0.8, "test": 0.2}, split_seed=3),
        changed(subjects=None, globs=None),
        changed(
            "manifest", globs=[{"ct": "{subject}/ct.nii", "overlays": {"fat": "{subject}.nii"}}]
        ),
        changed(label_sources={"tool": "tool.yaml", "other": {7: "fat"}}),
        changed(field_of_view_mm=None, remove_background="label_map"),
    ],
    ids=str,
)
def test_what_loads_is_valid(validator, values):
    assert is_valid(validator, values)


@pytest.mark.parametrize(
    "values",
    [
        {**SMALL, "trainig": {}},
        {**SMALL, "training": {"batchsize": 4}},
        {**SMALL, "training": {"steps": 0}},
        {**SMALL, "training": {"schedule": "both"}},
        {**SMALL, "generator": {"name": "unet"}},
        {**SMALL, "generator": {"name": "oasis", "base_channel": 4}},
        {**SMALL, "discriminator": {"name": "patch", "group_size": 4}},
        {key: value for key, value in SMALL.items() if key != "generator"},
        {key: value for key, value in SMALL.items() if key != "data"},
        changed("taxonomy"),
        changed(classes=CLASSES),
        changed("manifest"),
        changed(subjects=[SUBJECT]),
        changed(image_size=[128]),
        changed(splits={"training": 1.0}),
        changed("manifest", globs=[{"split": "train"}]),
        changed("manifest", globs=[{"ct": "ct.nii"}]),
        changed("manifest", globs=[{"cts": "{subject}/ct.nii"}]),
        changed("manifest", subjects=[{**SUBJECT, "lable_map": "a.nii"}]),
    ],
    ids=str,
)
def test_a_mistake_is_refused(validator, values):
    assert not is_valid(validator, values)


def test_every_setting_is_described():
    schema = configuration_schema()
    for name, section in {"top level": schema, **schema["$defs"]}.items():
        assert section["description"], name
        for key, setting in section["properties"].items():
            assert len(setting.get("description", "")) > 10, (name, key)
