"""Experiments for the benchmarks of networks: thesis sizes and the thigh experiment."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.label_maps import label_maps_of_file, made_label_maps

REPOSITORY = Path(__file__).parents[1]
AIR_THRESHOLD = -0.5  # of the synthetic images; the mask loss needs one


def experiment(
    networks: str = "wavelet",
    size: int = 256,
    num_classes: int = 31,
    batch_size: int = 1,
    precision: str = "float32",
    preset: str = "default",
) -> Any:
    """Configuration of an experiment.

    Args:
        networks: `wavelet` or `oasis` in thesis size without mask loss (the published one has no
            gradient); `thigh` for the networks of `configs/thigh_ct_to_mr.yaml` with mask loss;
            `tiny_wavelet` or `tiny_oasis` for tests.
        size: Rows and columns of a slice.
        num_classes: Number of classes with background.
        batch_size: Slices per step.
        precision: Value of `training.precision`.
        preset: `default` or `thesis`.
    """
    from medusis_tf.config.yaml_files import merge
    from medusis_tf.methods.experiment import validate

    values = merge(_preset(preset), _sections(networks))
    values["training"] = {
        **values.get("training", {}),
        "batch_size": batch_size,
        "precision": precision,
    }
    classes = [{"id": i, "name": f"class_{i}", "colour": [i, i, i]} for i in range(num_classes)]
    values["data"] = {
        "classes": classes,
        "image_size": [size, size],
        "image_channels": 1,
        "subjects": [
            {"subject": "a", "split": "train", "label_map": "a.nii.gz"},
            {"subject": "b", "split": "train", "image": "b.nii.gz"},
        ],
    }
    return validate({"name": "benchmark", **values}, Path("benchmark"))


def _preset(name: str) -> dict[str, Any]:
    from medusis_tf.config.yaml_files import read_yaml
    from medusis_tf.methods.experiment import PRESETS

    return {} if name == "default" else read_yaml(PRESETS / f"{name}.yaml")


def _sections(networks: str) -> dict[str, Any]:
    """Sections that differ between the experiments."""
    if networks == "thigh":
        import yaml

        values = yaml.safe_load((REPOSITORY / "configs" / "thigh_ct_to_mr.yaml").read_text())
        wanted = ("generator", "discriminator", "segmenter", "loss_weights", "training")
        return {key: values[key] for key in wanted if key in values}
    kind, is_tiny = networks.removeprefix("tiny_"), networks.startswith("tiny_")
    values = {"generator": {"name": kind}, "loss_weights": {"mask": 0.0}}
    if not is_tiny:
        return values
    sizes = {"base_channels": 2, "num_blocks": 2, "spade_channels": 4, "noise_dim": 4}
    return {
        **values,
        "generator": {"name": kind, **sizes},
        "discriminator": {"base_channels": 4, "max_channels": 8},
        "segmenter": {"base_channels": 2, "num_levels": 2},
    }


def label_maps(size: int, num_classes: int, batch_size: int, file: str | None) -> np.ndarray:
    """Label maps `[batch_size, size, size]` uint8 from a NIfTI file, or synthetic for None."""
    if file:
        return label_maps_of_file(Path(file), size, num_classes, batch_size)
    return made_label_maps(size, num_classes, batch_size)


def batch(maps: np.ndarray) -> dict[str, Any]:
    """Training batch of the label maps, their body masks, and white noise as images."""
    import tensorflow as tf

    image = np.random.default_rng(1).uniform(-1, 1, (*maps.shape, 1)).astype(np.float32)
    return {
        "label_map": tf.constant(maps),
        "body_mask": tf.constant((maps > 0).astype(np.uint8)),
        "image": tf.constant(image),
    }
