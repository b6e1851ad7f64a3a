"""From the configured volumes to slices that are ready for training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np

from medusis_tf.config.data import DataConfig
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.intensity import NyulIntensity
from medusis_tf.data.intensities.intensity import standard_landmarks
from medusis_tf.data.preparing.checks import check_leaks, check_streams
from medusis_tf.data.preparing.conversion import ConvertedSubject, Standard
from medusis_tf.data.preparing.conversion_tasks import (
    ConversionTask,
    check,
    conversion_tasks,
    convert_in_memory,
    convert_to_store,
    data_set_hash,
    measure_landmarks,
)
from medusis_tf.data.preparing.data_warnings import data_warnings
from medusis_tf.data.preparing.processes import in_processes
from medusis_tf.data.preparing.store import Store, Stored
from medusis_tf.data.preparing.subjects import check_files, source_files
from medusis_tf.data.shards import checksums
from medusis_tf.data.shards.manifest import (
    ClassRecord,
    Kind,
    Manifest,
    SubjectRecord,
)
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError
from medusis_tf.progress import PreparationProgress

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def prepare_shards(config: ExperimentConfig, jobs: int | None = 1) -> Shards:
    """Convert the configured subjects to slices, or find the slices of an earlier call.

    A subject is converted once: everything that determines its slices (files, settings, class
    names) is hashed, and subjects converted before a failure are kept. With `data.cache: memory`
    nothing is written, and every call converts all subjects.

    Args:
        config: The experiment.
        jobs: Number of processes that convert; None for one per processor. More than one requires
            a main module that can be imported, as in commands.

    Raises:
        UserError: Lists the problems of all subjects; or a training stream has no slices.
    """
    check_files(config.data)
    shards = _held_in_memory(config.data, jobs)
    if shards is None:
        store = Store(config.data.cache_dir, config.data.image_size)
        try:
            with store.locked():
                shards = _stored(config.data, store, jobs).in_use()
        except OSError as error:
            raise UserError(
                f"cannot write prepared slices to data.cache_dir={store.folder}: "
                f"{error.strerror or error}."
            ) from None
    _log_warnings(shards.records.subjects, config)
    return shards


def prepare_share(config: ExperimentConfig, share: slice, jobs: int | None = 1) -> int:
    """Convert a share of the subjects. A later `prepare_shards` assembles all without converting.

    Several processes, on one or several machines, convert their shares at the same time. Subjects
    that were converted before are not converted again. With `intensity: nyul`, every share measures
    all training images first.

    Args:
        config: The experiment.
        share: Subjects, by their place in the configuration.
        jobs: Number of processes, as in `prepare_shards`.

    Returns:
        Number of subjects of the share.

    Raises:
        UserError: Lists the problems of the subjects; or another process converts this share.
    """
    data = config.data
    chosen = data.model_copy(update={"subjects": data.subjects[share]})
    check_files(chosen)
    store = Store(data.cache_dir, data.image_size)
    try:
        with store.locked_share(f"{share.start}-{share.step}"):
            sources = _checksums(chosen)
            tasks = conversion_tasks(chosen, sources, _standard(data, jobs), store.folder)
            stored = store.stored(tidy=False)
            new = {task.content: task for task in tasks if task.content not in stored}
            _run(convert_to_store, list(new.values()), "converted", jobs, _record_of_stored)
    except OSError as error:
        raise UserError(
            f"cannot write prepared slices to data.cache_dir={store.folder}: "
            f"{error.strerror or error}."
        ) from None
    return len(tasks)


def check_subjects(config: ExperimentConfig, jobs: int | None = 1) -> list[SubjectRecord]:
    """Read and slice every volume, and write nothing.

    Returns:
        The entries of the manifest.

    Raises:
        UserError: As in `prepare_shards`, after all subjects have been checked.
    """
    data = config.data
    check_files(data)
    tasks = conversion_tasks(data, _checksums(data), _standard(data, jobs))
    records = _run(check, tasks, "checked", jobs, lambda record: record)
    check_streams(records, data)
    _log_warnings(records, config)
    return records


def slice_in_memory(data: DataConfig, jobs: int | None = 1) -> Shards:
    """Convert subjects and hold their slices in memory. Nothing is written.

    Args:
        data: Configuration of any subjects, which need not suffice for training.
        jobs: Number of processes, as in `prepare_shards`.

    Raises:
        UserError: Lists the problems of all subjects.
    """
    tasks = conversion_tasks(data, _checksums(data), _standard(data, jobs))
    converted = _run(convert_in_memory, tasks, "converted", jobs, _record_of_converted)
    records, arrays = [], {kind: list[np.ndarray]() for kind in get_args(Kind)}
    counts: dict[Kind, int] = dict.fromkeys(get_args(Kind), 0)
    for subject in converted:
        first = {kind: counts[kind] for kind in subject.slices}
        for kind, slices in subject.slices.items():
            arrays[kind].append(slices)
            counts[kind] += len(slices)
        records.append(subject.record.model_copy(update={"first_record": first}))
    whole = {kind: np.concatenate(parts) for kind, parts in arrays.items() if parts}
    return Shards(_manifest(data, records), whole)


def mask_weight(config: ExperimentConfig) -> float | None:
    """Weight of the mask loss; None if the method has none."""
    return getattr(getattr(config, "loss_weights", None), "mask", None)


def _held_in_memory(data: DataConfig, jobs: int | None) -> Shards | None:
    if data.cache != "memory":
        return None
    shards = slice_in_memory(data, jobs)
    check_streams(shards.records.subjects, data)
    logger.info("holding the slices of %d subjects in memory", len(shards.records.subjects))
    return shards


def _stored(data: DataConfig, store: Store, jobs: int | None) -> Shards:
    sources = _checksums(data, store.folder / checksums.FILE_NAME)
    # The landmarks of the training images follow from the files: they are measured only if needed.
    name = data_set_hash(conversion_tasks(data, sources))
    shards = Shards.open(store.folder / name)
    unchecked = [] if shards is None else _unchecked(shards)
    if shards is not None and not shards.is_of_earlier_version and not unchecked:
        logger.info("using the slices prepared in %s", shards.folder)
        return shards
    if unchecked:
        logger.info(
            "converting subjects again whose CT an earlier version did not check: %s",
            ", ".join(unchecked),
        )
    elif shards is not None:
        logger.info("rewriting the slices of an earlier version in %s", shards.folder)
    elif (store.folder / name).exists():
        logger.warning("replacing the damaged slices in %s", store.folder / name)
    tasks = conversion_tasks(data, sources, _standard(data, jobs), store.folder)
    stored = store.stored()
    new = {task.content: task for task in tasks if task.content not in stored}
    if reused := sum(task.content in stored for task in tasks):
        logger.info("%d of %d subjects were converted before", reused, len(tasks))
    converted = _run(convert_to_store, list(new.values()), "converted", jobs, _record_of_stored)
    stored.update(zip(new, converted, strict=True))
    parts = [stored[task.content] for task in tasks]
    records = [task.described(part.record) for task, part in zip(tasks, parts, strict=True)]
    check_streams(records, data)
    shards = store.assemble(name, _manifest(data, records), parts)
    logger.info("prepared slices of %d subjects in %s", len(tasks), shards.folder)
    return shards


def _unchecked(shards: Shards) -> list[str]:
    return [record.subject for record in shards.records.subjects if record.needs_check]


def _checksums(data: DataConfig, remembered: Path | None = None) -> checksums.Records:
    sources = {entry.subject: source_files(entry, data) for entry in data.subjects}
    records = checksums.all_checksums(sources, remembered)
    check_leaks(data, records)
    return records


def _standard(data: DataConfig, jobs: int | None) -> Standard:
    """Landmarks that histograms are mapped to: the mean of the training images."""
    if not isinstance(data.intensity, NyulIntensity):
        return None
    used = [entry for entry in data.subjects_of("train") if "image" in entry.used_streams]
    chosen = data.model_copy(update={"subjects": tuple(used)})
    tasks = conversion_tasks(chosen, {entry.subject: {} for entry in used})
    return standard_landmarks(_run(measure_landmarks, tasks, "measured", jobs))


def _run(
    function: Callable[[ConversionTask], Result],
    tasks: Sequence[ConversionTask],
    done: str,
    jobs: int | None,
    record_of: Callable[[Result], SubjectRecord] | None = None,
) -> list[Result]:
    """Run all tasks and return the results in their order; raise the problems of all together."""
    results: dict[int, Result] = {}
    problems: dict[int, str] = {}
    with PreparationProgress(len(tasks), done) as progress:
        for number, result in in_processes(function, tasks, jobs):
            name = tasks[number].subject.subject
            if isinstance(result, UserError):
                problems[number] = f"subject {name}: {result}"
                progress.advance(f"{name}: cannot be used")
                continue
            results[number] = result
            line = f"{name}: {done}" if record_of is None else _summary(record_of(result))
            progress.advance(line)
    if problems:
        lines = [problems[number] for number in sorted(problems)]
        if len(problems) < len(tasks):
            kept = " and kept" if function is convert_to_store else ""
            lines.append(
                f"{len(problems)} of {len(tasks)} subjects cannot be used; "
                f"the others are fine{kept}."
            )
        elif len(tasks) > 1:
            lines.append(f"none of the {len(tasks)} subjects can be used.")
        raise UserError("\n".join(lines))
    return [results[number] for number in sorted(results)]


def _summary(record: SubjectRecord) -> str:
    kept = f"{record.subject}: kept {record.num_slices} of {record.depth} slices"
    if record.num_slices == 0:
        kept += ", none has as much foreground as data.minimum_foreground"
    return "\n".join([kept, *(f"  warning: {warning}" for warning in record.warnings)])


def _log_warnings(records: Sequence[SubjectRecord], config: ExperimentConfig) -> None:
    for warning in data_warnings(records, config.data, mask_weight(config)):
        logger.warning("warning: %s", warning)


def _record_of_stored(stored: Stored) -> SubjectRecord:
    return stored.record


def _record_of_converted(converted: ConvertedSubject) -> SubjectRecord:
    return converted.record


def _manifest(data: DataConfig, records: Iterable[SubjectRecord]) -> Manifest:
    return Manifest(
        classes=tuple(ClassRecord(id=entry.id, name=entry.name) for entry in data.classes),
        axis=data.axis,
        image_size=data.image_size,
        field_of_view_mm=data.field_of_view_mm,
        files={},
        subjects=tuple(records),
    )
