"""Experiments for the benchmarks of networks: thesis sizes, the thigh and the legs experiment."""

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
            gradient), `transformer` in the same size; `oasis_attention` or `wavelet_attention` with
            attention at 1/16 and 1/8 of the image size; `thigh` for the networks of
            `configs/thigh_ct_to_mr.yaml` with mask loss; `legs` for the generator and segmenter of
            `configs/legs_ct_to_mr.yaml` with the first of its discriminators, `legs_wavelet`,
            `legs_attention` or `legs_transformer` for other generators in its place;
            `tiny_wavelet`, `tiny_oasis` or `tiny_transformer` for tests.
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
        values = _packaged("thigh_ct_to_mr")
        wanted = ("generator", "discriminator", "segmenter", "loss_weights", "training")
        return {key: values[key] for key in wanted if key in values}
    if networks == "legs" or networks.startswith("legs_"):
        return _legs(networks.removeprefix("legs").removeprefix("_"))
    kind, is_tiny = networks.removeprefix("tiny_"), networks.startswith("tiny_")
    kind, _, option = kind.partition("_")
    generator: dict[str, Any] = {"name": kind}
    if option:
        generator["attention"] = [16, 8]
    values = {"generator": generator, "loss_weights": {"mask": 0.0}}
    if not is_tiny:
        return values
    sizes = {"base_channels": 2, "num_blocks": 2, "spade_channels": 4, "noise_dim": 4}
    if kind == "transformer":
        sizes["transformer_finest"] = 2
    return {
        **values,
        "generator": {"name": kind, **sizes},
        "discriminator": {"base_channels": 4, "max_channels": 8},
        "segmenter": {"base_channels": 2, "num_levels": 2},
    }


def _legs(variant: str) -> dict[str, Any]:
    """Networks of the legs experiment, with one discriminator, for which operations are counted."""
    values = _packaged("legs_transformer" if variant == "transformer" else "legs_ct_to_mr")
    generator = dict(values["generator"])
    if variant == "attention":
        generator["attention"] = [8, 4]  # 16 and 32 of 128 pixels
    if variant == "wavelet":
        # Four bands for each feature map: the widths of the OASIS generator.
        generator |= {"name": "wavelet", "base_channels": 4, "upsampling": "nearest"}
    return {
        "generator": generator,
        "discriminator": values["discriminator"]["members"][0],
        "segmenter": values["segmenter"],
        "loss_weights": {"mask": 0.0},
    }


def _packaged(name: str) -> dict[str, Any]:
    import yaml

    return yaml.safe_load((REPOSITORY / "configs" / f"{name}.yaml").read_text())


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
