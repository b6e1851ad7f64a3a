"""Subjects made of arrays, and the configuration of the small run with other data."""

from pathlib import Path

import numpy as np
import yaml

from medusis_tf.data.shards.labelled_subjects import LabelledSubject


def made_subject(label_map, name="d", first_slice=0):
    label_map = np.asarray(label_map, np.uint8)
    indices = np.arange(len(label_map)) + first_slice
    return LabelledSubject(name, name, label_map, None, indices, (2.5, 2.5))


def changed_config(run_dir: Path, path: Path, **data) -> Path:
    """Write the configuration of a run with other values in its data section."""
    values = yaml.safe_load((run_dir / "config.yaml").read_text())
    values["data"].update(data)
    path.write_text(yaml.safe_dump(values))
    return path
