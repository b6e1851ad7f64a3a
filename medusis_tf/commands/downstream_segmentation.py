"""Proof of use: `medusis downstream-segmentation --run DIR --data FILE --out DIR`.

The same segmenter is trained on several training sets, and tested on real MR of unseen patients:
on synthetic MR with its label maps, on Gaussian mixtures, on painted means, and on real labelled MR
as the upper bound; also after pre-training, on few real labelled patients. Finished trainings are
kept, and not repeated when the command is repeated.
"""

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.limits import LARGEST_BATCH, LARGEST_COUNT, LARGEST_STEPS
from medusis_tf.errors import UserError
from medusis_tf.evaluation.command_options import ModelOption, RunOption
from medusis_tf.evaluation.options import read_seeds, read_split
from medusis_tf.methods.experiment import load_config
from medusis_tf.runs.run_dir import CheckpointChoice
from medusis_tf.studies.downstream.rows import (
    CHOICES,
    ESTIMATED,
    FINE_TUNING,
    MIXTURE,
    REAL,
    SYNTHETIC,
    make_rows,
    read_choices,
    read_patients,
)

if TYPE_CHECKING:
    from medusis_tf.appearance.appearance import Appearance
    from medusis_tf.evaluation.evaluated_model import EvaluatedModel
    from medusis_tf.evaluation.painters import Painter
    from medusis_tf.studies.downstream.study import DownstreamStudy
    from medusis_tf.studies.downstream.training_sets import StudyData

logger = logging.getLogger("medusis_tf.downstream_segmentation")


def downstream_segmentation(
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    run: RunOption = None,
    model: ModelOption = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration with the label maps to paint; by default that of --run."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Configuration with real images and their label maps, to train the upper bound "
            "and to test: best with registered pairs. By default that of the label maps."
        ),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(help=f"What to train on: some of {','.join(CHOICES)}. By default all."),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Seeds of weights, order, noise and contrasts.")
    ] = "0,1,2",
    steps: Annotated[
        int, typer.Option(min=1, max=LARGEST_STEPS, help="Training steps of a row.")
    ] = 450,
    fine_tune_patients: Annotated[
        str, typer.Option(help="Numbers of real labelled patients after a pre-training.")
    ] = "1,2,4",
    batch_size: Annotated[
        int, typer.Option(min=1, max=LARGEST_BATCH, help="Slices per training step.")
    ] = 8,
    draws: Annotated[
        int,
        typer.Option(
            min=1, max=LARGEST_COUNT, help="Images of each label map: noises or contrasts."
        ),
    ] = 5,
    checkpoint: Annotated[
        CheckpointChoice,
        typer.Option(help="Checkpoint of the run: newest, or best on the validation patients."),
    ] = CheckpointChoice.NEWEST,
    split: Annotated[
        str, typer.Option(help="Split of the test patients: test or validation.")
    ] = "test",
) -> None:
    """Train a segmenter on synthetic and other MR, and test it on real MR of unseen patients.

    Writes results.json, results.csv, results.png, report.html and the weights of the segmenters.
    The whole study with the defaults takes less than an hour on two cores for slices of 128x128
    pixels and a segmenter of 16 channels. The command states an estimate before it starts.
    """
    chosen, numbers = read_choices(rows), read_seeds(seeds)
    counts, tested = read_patients(fine_tune_patients), read_split(split)
    if tested == "train":
        raise UserError("--split must be test or validation: training patients are not unseen.")
    _check_model(run, model, config, chosen, named=rows is not None)
    label_config = _label_config(run, config)
    from medusis_tf.studies.downstream.store import StudyStore
    from medusis_tf.studies.downstream.study import DownstreamStudy, StudyOptions, settings
    from medusis_tf.studies.downstream.training_sets import check_data, check_unseen

    store = StudyStore(out)
    labels, pairs = _study_data(label_config, None if data is None else load_config(data))
    check_data(labels, pairs, tested)
    opened = _open_model(run, model, label_config, config, checkpoint)
    if opened is not None:
        check_unseen(opened.trained, opened.source, pairs, tested)
    greys = _greys(labels, chosen, named=rows is not None)
    painters = _painters(labels, opened, greys)
    sources = [name for name in chosen if name in painters or name == REAL]
    available = min(len(pairs.pairs()), len({each.patient for each in labels.painted()}))
    if not available:
        sources, counts = _without_real(sources, pairs.config.name, named=rows is not None), ()
    counts = _possible(counts, available) if FINE_TUNING in chosen else ()
    made = make_rows(sources, counts)
    if not made:
        raise UserError(f"nothing can be trained for --rows {rows}. Choose other rows.")
    options = StudyOptions(made, numbers, steps, batch_size, draws, tested)
    study = DownstreamStudy(labels, pairs, painters, options, store)
    title = None if opened is None else opened.painter.name
    store.check_settings(settings(study, title, greys))
    _announce(study)
    study.run()
    _report(study, title)


def _check_model(
    run: Path | None,
    model: Path | None,
    config: Path | None,
    chosen: tuple[str, ...],
    named: bool,
) -> None:
    if run is not None and model is not None:
        raise UserError("give --run DIR or --model DIR, not both.")
    if model is not None and config is None:
        raise UserError("--model needs --config FILE, with the label maps to paint.")
    if run is None and model is None and SYNTHETIC in chosen:
        if named:
            raise UserError(f"--rows {SYNTHETIC} needs a generator: --run DIR or --model DIR.")
        logger.info("no row of synthetic MR: neither --run nor --model is given")


def _label_config(run: Path | None, config: Path | None) -> ExperimentConfig:
    if config is not None:
        return load_config(config)
    if run is None:
        raise UserError("give --run DIR, or --config FILE with the label maps to paint.")
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} is not a run: it has no config.yaml. Give a folder of runs/.")
    return load_config(run / "config.yaml")


def _study_data(
    labels: ExperimentConfig, pairs: ExperimentConfig | None
) -> "tuple[StudyData, StudyData]":
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.studies.downstream.training_sets import StudyData

    painted = StudyData(labels, prepare_shards(labels, jobs=None))
    if pairs is None:
        return painted, painted
    return painted, StudyData(pairs, prepare_shards(pairs, jobs=None))


def _open_model(
    run: Path | None,
    model: Path | None,
    labels: ExperimentConfig,
    config: Path | None,
    checkpoint: CheckpointChoice,
) -> "EvaluatedModel | None":
    from medusis_tf.evaluation.evaluated_model import open_exported, open_run

    if model is not None and config is not None:
        return open_exported(model, config)
    if run is None:
        return None
    opened = open_run(run, choice=checkpoint)
    theirs, ours = ([e.name for e in each.data.classes] for each in (opened.config, labels))
    if theirs != ours:
        raise UserError(
            f"{labels.name} and the run {run} have different classes: {', '.join(ours)} and "
            f"{', '.join(theirs)}. Use the class table of the run."
        )
    return opened


def _greys(labels: "StudyData", chosen: tuple[str, ...], named: bool) -> "Appearance | None":
    from medusis_tf.studies.downstream.painters import estimate_greys

    if not ESTIMATED & set(chosen):
        return None
    try:
        return estimate_greys(labels)
    except UserError as error:
        if named:
            raise
        logger.warning("no rows with estimated greys: %s", error)
        return None


def _painters(
    labels: "StudyData", model: "EvaluatedModel | None", greys: "Appearance | None"
) -> "dict[str, Painter]":
    from medusis_tf.studies.downstream.painters import grey_painters, mixture_painter

    found = {MIXTURE: mixture_painter(labels.config.data.num_classes)}
    if model is not None:
        found[SYNTHETIC] = model.painter
    return found if greys is None else found | grey_painters(greys)


def _without_real(sources: list[str], name: str, named: bool) -> list[str]:
    message = f"no training subject of {name} has both a label map and an image"
    if named and REAL in sources:
        raise UserError(
            f"{message}, so there is no upper bound to train. Name a configuration with pairs: "
            "--data FILE."
        )
    logger.warning("%s: no upper bound and no fine-tuning", message)
    return [source for source in sources if source != REAL]


def _possible(counts: tuple[int, ...], available: int) -> tuple[int, ...]:
    if left_out := [str(count) for count in counts if count > available]:
        logger.warning(
            "no fine-tuning on %s patients: %d have real images and labels",
            ", ".join(left_out), available,
        )  # fmt: skip
    return tuple(count for count in counts if count <= available)


def _announce(study: "DownstreamStudy") -> None:
    missing, total = len(study.missing), len(study.options.rows) * len(study.options.seeds)
    logger.info(
        "%d label-map patients, %d real patients to train on, %d test volumes",
        len(study.sets.label_patients), len(study.sets.pair_patients), len(study.tested),
    )  # fmt: skip
    if missing:
        logger.info(
            "%d of %d trainings to do, estimated at %d min on two quiet cores",
            missing, total, math.ceil(study.expected_seconds / 60),
        )  # fmt: skip


def _report(study: "DownstreamStudy", model: str | None) -> None:
    from medusis_tf.reports.evaluation.console import print_tables
    from medusis_tf.studies.downstream.report import write_study
    from medusis_tf.studies.downstream.summary import collect
    from medusis_tf.studies.downstream.tables import study_tables, study_verdicts

    results, names = study.results(), (study.labels.config.name, study.pairs.config.name)
    about = {
        "title": f"Downstream segmentation: {names[0]}",
        "description": f"label maps of {names[0]}, real MR of {names[1]}; "
        f"{study.options.steps} steps, {study.options.batch_size} slices each; "
        f"generator: {model or 'none'}",
        "model": model,
        "steps": study.options.steps,
        "fine_tuning_steps": study.options.fine_tuning_steps,
        "batch_size": study.options.batch_size,
        "test_patients": sorted({record.patient for record in study.tested}),
    }
    rows = collect(results)
    print_tables(study_tables(rows), study_verdicts(rows))
    for path in write_study(study.store, results, study.labels.classes, about):
        logger.info("wrote %s", path)
