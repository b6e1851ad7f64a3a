"""Register the CT of each patient to the MR: `medusis register-pairs --config FILE --out DIR`."""

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medusis_tf.commands.options import ConfigOption, OverridesArgument
from medusis_tf.config.data import Subject
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.limits import LARGEST_SEED
from medusis_tf.config.yaml_files import write_yaml
from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.methods.experiment import load_config, validate
from medusis_tf.written_files import record_files

if TYPE_CHECKING:
    from medusis_tf.registration.pairs import RegisteredPair

logger = logging.getLogger("medusis_tf.register_pairs")

FORMAT_VERSION = 1
RESULTS, CONFIG, SUPERVISED = "registration.json", "config.yaml", "supervised.yaml"
# Loss weights of the supervised ceiling: the true image dominates, the terms that replace it in
# unpaired training are off. They are those of configs/brain_t1_paired.yaml.
_SUPERVISED_WEIGHTS = {
    "reconstruction": 100.0,
    "feature_matching": 2.0,
    "adversarial": 0.1,
    "segmentation": 0.5,
    "mask": 0.0,
    "diversity": 0.0,
    "real_segmentation": 0.0,
    "class_quantiles": 0.0,
    "class_texture": 0.0,
    "pseudo_reconstruction": 0.0,
    "pseudo_feature_matching": 0.0,
}
# A label map has one true image: with noise, an L1 loss leaves brains too bright or too dark
# (configs/brain_t1_paired.yaml).
_WITHOUT_NOISE = {
    "noise_dim": 0,
    "noise_scale": 1.0,
    "class_noise": False,
    "pixel_noise": False,
    "pixel_noise_finest": 1,
}
_SUPERVISED_OPTIMIZER = {"learning_rate": 1e-3, "beta_1": 0.5}


def register_pairs(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(help="Folder for the volumes: the new data.root.")],
    overrides: OverridesArgument = None,
    split: Annotated[str | None, typer.Option(help="Register only subjects of this split.")] = None,
    subjects: Annotated[
        str | None, typer.Option(help="Register only these subjects: NAME,NAME.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the sampled voxels.")
    ] = 0,
) -> None:
    """Register the CT of each subject to the image, and write the pairs with a configuration.

    A deformation by B-splines moves CT, overlays and label map onto the grid of the image. Subjects
    without CT and image are copied. Writes DIR/SUBJECT/, registration.json with the quality of
    each pair, config.yaml with the same splits and streams, and supervised.yaml: a paired training
    on the registered pairs of the training patients. A registration that folds, or fits worse than
    the pair as it was, is refused. About ten seconds a patient.
    """
    from medusis_tf.registration.deformable import import_simpleitk
    from medusis_tf.registration.destination import open_destination
    from medusis_tf.registration.pairs import copy_subject, register_subject

    experiment = load_config(config, overrides or [])
    chosen = _chosen(experiment, split, subjects)
    import_simpleitk()
    open_destination(out, experiment.data, (RESULTS, CONFIG, SUPERVISED))
    pairs: dict[str, RegisteredPair] = {}
    entries: list[Subject] = []
    for subject in experiment.data.subjects:
        if subject.subject not in chosen:
            entries.append(copy_subject(subject, experiment.data, out))
            continue
        pair = register_subject(subject, experiment.data, out, seed)
        pairs[subject.subject] = pair
        entries.append(pair.subject)
        _log_pair(pair)
    _print_table(pairs)
    _write_results(out, experiment, pairs, seed)
    written = _write_configs(out, experiment, entries, list(pairs))
    record_files(out, [RESULTS, *(path.name for path in written)])
    for path in written:
        logger.info("wrote %s", path)


def _chosen(experiment: ExperimentConfig, split: str | None, subjects: str | None) -> set[str]:
    from medusis_tf.evaluation.options import read_split

    found = {e.subject: e for e in experiment.data.subjects if e.ct and e.image}
    if split is not None:
        name = read_split(split)
        found = {key: entry for key, entry in found.items() if entry.split == name}
    if subjects is not None:
        named = [name for name in re.split(r"[,\s]+", subjects) if name]
        if not named:
            raise UserError(
                f"--subjects names no subject. Subjects with ct and image: "
                f"{', '.join(found) or 'none'}."
            )
        if unknown := [name for name in named if name not in found]:
            raise UserError(
                f"--subjects names {', '.join(unknown)}. Subjects with ct and image: "
                f"{', '.join(found) or 'none'}."
            )
        found = {name: found[name] for name in named}
    if not found:
        raise UserError(
            f"{experiment.name} has no subject with ct and image to register"
            f"{'' if split is None else f' in the {split} split'}."
        )
    return set(found)


def _log_pair(pair: "RegisteredPair") -> None:
    logger.info("%s: %s", pair.subject.subject, pair.chosen)
    for name, reason in pair.refused.items():
        logger.warning("warning: %s: %s refused: %s", pair.subject.subject, name, reason)
    if pair.warnings:
        logger.warning(
            "warning: %s: look at this pair, it may be wrong: %s. Check that CT and image are of "
            "one patient and aligned, or leave it out with --subjects.",
            pair.subject.subject,
            ", ".join(pair.warnings),
        )


def _print_table(pairs: "dict[str, RegisteredPair]") -> None:
    from medusis_tf.registration.pairs import RIGID
    from medusis_tf.reports.evaluation.console import print_tables
    from medusis_tf.reports.evaluation.tables import EvaluationTable

    columns = ["split", "outline Dice", "class means dB", "mutual information", "Jacobian >="]
    rows = []
    for name, pair in pairs.items():
        before, after = pair.before, pair.after
        cells = [
            pair.subject.split,
            f"{before.outline_dice:.3f} to {after.outline_dice:.3f}",
            f"{before.class_means_psnr:.1f} to {after.class_means_psnr:.1f}",
            f"{before.mutual_information:.2f} to {after.mutual_information:.2f}",
            f"{after.smallest_jacobian:.2f}",
            pair.chosen,
        ]
        rows.append((name, cells))
    notes = [
        "before to after registration; class means dB: PSNR of the label map painted with its own "
        "class means; Jacobian: not positive where the deformation folds",
        f"written: {RIGID} if no registration fits better without folds",
    ]
    print_tables(
        [EvaluationTable("Registered pairs", [*columns, "written"], rows, notes, "subject")], []
    )


def _write_results(
    out: Path, experiment: ExperimentConfig, pairs: "dict[str, RegisteredPair]", seed: int
) -> None:
    content = {
        "format_version": FORMAT_VERSION,
        "configuration": experiment.name,
        "seed": seed,
        "subjects": {
            name: {
                "split": pair.subject.split,
                "chosen": pair.chosen,
                "refused": dict(pair.refused),
                "warnings": pair.warnings,
                "before": asdict(pair.before),
                "after": asdict(pair.after),
            }
            for name, pair in pairs.items()
        },
    }
    with replacing(out / RESULTS) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _write_configs(
    out: Path, experiment: ExperimentConfig, entries: Sequence[Subject], registered: list[str]
) -> list[Path]:
    values = experiment.model_dump(mode="json")
    values["name"] = f"{experiment.name}_registered"
    values["data"]["root"] = str(out.resolve())
    values["data"]["pair_by"] = "world"
    values["data"]["subjects"] = [entry.model_dump(mode="json") for entry in entries]
    written = [_write_config(out / CONFIG, values)]
    left = [
        each.subject
        for each in entries
        if each.ct and each.image and each.subject not in registered
    ]
    if left:
        logger.warning(
            "warning: %s also has %d pairs that were not registered: %s. Do not measure "
            "similarity on them.",
            out / CONFIG,
            len(left),
            ", ".join(left),
        )
    pairs = [entry for entry in entries if entry.subject in registered and entry.split == "train"]
    if not pairs:
        (out / SUPERVISED).unlink(missing_ok=True)  # that of an earlier run, of other subjects
        logger.info("no training patient has a registered pair, so there is no %s", SUPERVISED)
        return written
    return [*written, _write_config(out / SUPERVISED, _supervised(values, entries, pairs))]


def _supervised(
    values: dict[str, Any], entries: Sequence[Subject], pairs: Sequence[Subject]
) -> dict[str, Any]:
    """The configuration of a paired training on pairs, with the other splits unchanged.

    The networks and the classes are the same, but the generator has no noise. Loss weights and the
    generator's optimizer are those of `configs/brain_t1_paired.yaml`. If a validation subject is a
    pair, the best checkpoint is that of the highest similarity.
    """
    training = [entry.model_copy(update={"streams": None}) for entry in pairs]
    others = [entry for entry in entries if entry.split != "train"]
    data = {
        **values["data"],
        "pairing": "paired",
        "paired_fraction": None,
        "subjects": [entry.model_dump(mode="json") for entry in (*training, *others)],
    }
    changed = {**values, "name": values["name"].removesuffix("_registered") + "_supervised"}
    if "loss_weights" in values:  # other methods may have none
        known = {
            key: each for key, each in _SUPERVISED_WEIGHTS.items() if key in values["loss_weights"]
        }
        changed["loss_weights"] = {**values["loss_weights"], **known}
        generator, optimizers = values["generator"], values["optimizers"]
        noise = {key: each for key, each in _WITHOUT_NOISE.items() if key in generator}
        changed["generator"] = {**generator, **noise}
        optimizer = {**optimizers["generator"], **_SUPERVISED_OPTIMIZER}
        changed["optimizers"] = {**optimizers, "generator": optimizer}
    paired = [e for e in others if e.split == "validation" and e.has_label_map and e.image]
    if paired:
        # The ceiling of similarity: it falls while the images become sharper.
        validation = {**values["training"]["validation"], "best_metric": "ssim_body"}
        changed["training"] = {**values["training"], "validation": validation}
    return {**changed, "data": data}


def _write_config(path: Path, values: dict[str, Any]) -> Path:
    validate(values, path)
    write_yaml(path, values)
    return path
