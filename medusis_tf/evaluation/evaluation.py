"""Judge a model, and what it has to beat, on the subjects of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medusis_tf.config.data import ClassEntry
from medusis_tf.evaluation.audit_model import ModelAudit
from medusis_tf.evaluation.judged_subject import JudgedSubjects
from medusis_tf.evaluation.judges import Judges
from medusis_tf.evaluation.method import Method

FORMAT_VERSION = 2

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What was judged, and what came out.

    Attributes:
        title: Of the model.
        subjects: Who was judged on.
        methods: The model first, then references and baselines.
        seeds: Of the noises.
        classes: The class table.
        audit: For the pictures of nearest neighbours; None if there was none.
        content: All figures, as in `metrics.json`.
    """

    title: str
    subjects: JudgedSubjects
    methods: Sequence[Method]
    seeds: Sequence[int]
    classes: Sequence[ClassEntry]
    audit: ModelAudit | None
    content: Mapping[str, Any]


def judge(
    method: Method,
    subjects: JudgedSubjects,
    seeds: Sequence[int],
    judges: Judges,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures of one method.

    Args:
        method: Paints.
        subjects: What is painted; a subject without a true image is passed over by a method that
            needs one.
        seeds: Of the noises; a method that is not random takes the first one only.
        judges: What pictures are judged by.
        progress: Called with the method's name, subjects done, and all subjects.
    """
    measures = judges.measures(is_model=method.kind == "model")
    for done, subject in enumerate(subjects, start=1):
        if subject.image is not None or not method.needs_image:
            for seed in seeds if method.is_random else seeds[:1]:
                pictures = method.paint(subject, seed)
                for measure in measures.values():
                    measure.update(subject, pictures)
        if progress is not None:
            progress(method.name, done, len(subjects))
    results = {name: measure.results() for name, measure in measures.items()}
    return {"name": method.name, "kind": method.kind, **nested(results)}


def nested(results: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a/b": x}` as `{"a": {"b": x}}`."""
    found: dict[str, Any] = {}
    for name, value in results.items():
        outer, _, inner = name.partition("/")
        if inner:
            found.setdefault(outer, {})[inner] = value
        else:
            found[outer] = value
    return found


def describe_subjects(subjects: JudgedSubjects) -> dict[str, Any]:
    """How many slices and patients there are, with a true image and without."""
    records = subjects.records
    paired = [record for record in records if "image" in record.kinds]
    return {
        "subjects": [record.subject for record in records],
        **_counts("", records),
        **_counts("paired_", paired),
    }


def _counts(prefix: str, records: Iterable[Any]) -> dict[str, int]:
    records = list(records)
    return {
        f"{prefix}slices": sum(record.num_slices for record in records),
        f"{prefix}patients": len({record.patient for record in records}),
    }


def describe_levels(judges: Judges) -> dict[str, float]:
    """The greys that shapes were judged by."""
    return asdict(judges.levels)
