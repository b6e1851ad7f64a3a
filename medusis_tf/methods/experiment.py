"""Read, override, validate and save the configuration of an experiment, whatever its method."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from medusis_tf.config.data_references import (
    DATA_ROOT_VARIABLE,
    choose_subject_list,
    inline_references,
)
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.packaged import CONFIGS, find_config, is_file
from medusis_tf.config.plugins import registered
from medusis_tf.config.problems import problem_lines, suggestion
from medusis_tf.config.yaml_files import merge, parse_overrides, read_yaml, write_yaml
from medusis_tf.errors import UserError
from medusis_tf.methods.diffusion.config import DiffusionConfig
from medusis_tf.methods.med_usis.config import MedUSISConfig

DEFAULT_METHOD = "med_usis"
# A new method adds its configuration here; other packages add theirs by an entry point.
PACKAGED_METHODS: dict[str, type[ExperimentConfig]] = {
    "med_usis": MedUSISConfig,
    "diffusion": DiffusionConfig,
}
METHODS = {**PACKAGED_METHODS, **registered("medusis_tf.methods")}
PRESETS = Path(__file__).parents[1] / "config" / "presets"


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read the configuration of an experiment.

    Overrides take precedence over the file, and the file over the preset. References such as
    `data.taxonomy` and `data.manifest` are replaced by the contents of the file they name. If
    `data.root` is not set, it is taken from the environment variable `MEDUSIS_DATA`.

    Args:
        path: YAML file, or the name of a packaged configuration, such as `quickstart`.
        overrides: Settings as `key=value`, with a dotted key and a YAML value, for example
            `training.steps=100`.

    Raises:
        UserError: The file cannot be read, or the configuration is invalid. The message has one
            line for each problem.
    """
    path = find_config(Path(path))
    if not path.suffix and not is_file(path):
        known = suggestion(path.name, (each.stem for each in CONFIGS.glob("*.yaml")))
        raise UserError(
            f"there is no file {path} and no packaged configuration of that name{known}"
        )
    changes = parse_overrides(overrides)
    chosen = merge(read_yaml(path), changes)
    is_default = chosen.get("method", DEFAULT_METHOD) == DEFAULT_METHOD  # presets are of its own
    values = merge(_preset(chosen.get("preset", "default")), chosen) if is_default else chosen
    data = values.get("data")
    if isinstance(data, dict):
        if data.get("root") is None and DATA_ROOT_VARIABLE in os.environ:
            data["root"] = os.environ[DATA_ROOT_VARIABLE]
        data_changes = changes.get("data")
        choose_subject_list(data, data_changes if isinstance(data_changes, dict) else {}, path)
        inline_references(data, path)
    return validate(values, path)


def validate(values: Mapping[str, Any], path: Path) -> ExperimentConfig:
    """Validate nested dictionaries and return the frozen configuration.

    Args:
        values: Nested dictionaries.
        path: File that error messages name.

    Raises:
        UserError: One line for each problem.
    """
    config_class = _config_class(values.get("method", DEFAULT_METHOD), path)
    _check_sections(values, config_class, path)
    try:
        return config_class.model_validate(values)
    except pydantic.ValidationError as error:
        problems = [f"  {line}" for line in problem_lines(error, _all_keys(config_class))]
        raise UserError("\n".join([f"{path} is not a valid configuration:", *problems])) from None


def save_config(config: ExperimentConfig, path: Path) -> None:
    """Write all values of the configuration as YAML, including defaults."""
    write_yaml(path, config.model_dump(mode="json"))


def _config_class(method: object, path: Path) -> type[ExperimentConfig]:
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    raise UserError(
        f"{path} is not a valid configuration:\n"
        f"  method: unknown method {method!r}{suggestion(str(method), METHODS)}"
    )


def _check_sections(
    values: Mapping[str, Any], config_class: type[ExperimentConfig], path: Path
) -> None:
    """Refuse the sections of another method, as after an override of the method alone."""
    unknown = [key for key in values if key not in config_class.model_fields]
    method = values.get("method", DEFAULT_METHOD)
    for other, its_class in METHODS.items():
        if found := [key for key in unknown if key in its_class.model_fields]:
            raise UserError(
                f"{path} is not a valid configuration:\n"
                f"  {', '.join(found)}: of method: {other}. Received: method: {method}. Remove "
                "what belongs to the other method; an override keeps the sections of the file"
            )


def _preset(name: object) -> dict[str, Any]:
    # "default" has no file: it is the defaults of the sections. Validation rejects unknown names.
    path = PRESETS / f"{name}.yaml"
    return read_yaml(path) if name == "thesis" else {}


def _all_keys(config_class: type[ExperimentConfig]) -> set[str]:
    schema = config_class.model_json_schema()
    objects = [schema, *schema.get("$defs", {}).values()]
    return {key for part in objects for key in part.get("properties", {})}
