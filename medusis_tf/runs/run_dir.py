"""The folder of a run, which is never overwritten."""

import json
import subprocess
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.methods.experiment import load_config, save_config
from medusis_tf.runs.trackers import check_trackers

# Settings that a resumed run may change: its length, its devices, its folders and its output.
FREE_TO_CHANGE = {
    "name",
    "runs_dir",
    "data.root",
    "data.cache_dir",
    "training.steps",
    "training.strategy",
    "training.logical_devices",
    "training.worker_timeout",
    "training.log_interval",
    "training.panel_interval",
    "training.volume_interval",
    "training.validation.interval",
    "training.checkpoint_interval",
    "training.checkpoints_to_keep",
    "training.max_skipped_steps",
    "training.profile_steps",
    "training.trackers",
    "training.stop_seconds",
}
LOCK = ".lock"
_MANIFEST = "manifest.json"


class CheckpointChoice(StrEnum):
    """A checkpoint of a run: the newest, or the best on the validation patients."""

    NEWEST = "newest"
    BEST = "best"


def check_run_dir(config: ExperimentConfig, resume: bool) -> None:
    """Check that a run can start or resume.

    Raises:
        UserError: The folder of a new run is not empty; or there is no run to resume, or it
            belongs to a different experiment; or the package of a tracker is absent.
    """
    check_trackers(config.training.trackers)
    saved = config.run_dir / "config.yaml"
    if not resume:
        if _holds_a_run(config.run_dir):
            raise UserError(
                f"{config.run_dir} already holds a run. Continue it with --resume, or choose "
                "another name: name=NAME."
            )
        return
    if not saved.is_file():
        raise UserError(f"nothing to resume: {saved} does not exist. Train without --resume.")
    before, now = flat_settings(load_config(saved)), flat_settings(config)
    changed = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    if refused := [key for key in changed if key not in FREE_TO_CHANGE]:
        lines = [f"  {key}: {before.get(key)} -> {now.get(key)}" for key in refused]
        raise UserError(
            "\n".join([f"--resume cannot change these settings of {config.run_dir}:", *lines])
        )


def write_run_dir(config: ExperimentConfig, data_manifest: dict[str, Any]) -> None:
    """Write `config.yaml` and `manifest.json` of a new run.

    Args:
        config: The experiment; all settings are saved, including defaults.
        data_manifest: Subjects, splits, classes and checksums, from `Shards.manifest`.

    Raises:
        UserError: The folder cannot be written.
    """
    manifest = {**data_manifest, "provenance": provenance()}
    try:
        config.run_dir.mkdir(parents=True, exist_ok=True)
        with replacing(config.run_dir / _MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        # The last file: with it, the run can be resumed.
        save_config(config, config.run_dir / "config.yaml")
    except OSError as error:
        raise UserError(
            f"cannot write the run to {config.run_dir}: {error.strerror}. "
            "Choose another folder with runs_dir=DIR."
        ) from None


def _holds_a_run(folder: Path) -> bool:
    """Whether a folder holds more than a killed process leaves before its run begins."""
    if not folder.exists():
        return False
    left = {LOCK, _MANIFEST}
    entries = [path.name for path in folder.iterdir()]
    return any(name not in left and not name.startswith(".partial-") for name in entries)


def provenance() -> dict[str, Any]:
    """Date, versions of the main packages, and git revision."""
    packages = ("medusis_tf", "tensorflow", "keras", "numpy", "nibabel", "scipy", "scikit-image")
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: metadata.version(name) for name in packages},
        "git_revision": git_revision(),
    }


def git_revision() -> str | None:
    """Git revision of the package's checkout, `-dirty` if modified; None without a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(  # noqa: S603
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def flat_settings(config: ExperimentConfig) -> dict[str, Any]:
    """All settings of a configuration by dotted key, such as `training.steps`."""
    flat: dict[str, Any] = {}

    def visit(prefix: str, values: dict[str, Any]) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                visit(f"{prefix}{key}.", value)
            else:
                flat[prefix + key] = value

    visit("", config.model_dump(mode="json"))
    return flat
