"""Tables and verdicts of the study, and its CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from medusis_tf.reports.evaluation.tables import MISSING, EvaluationTable
from medusis_tf.reports.evaluation.verdicts import Verdict
from medusis_tf.studies.downstream.rows import REAL, SOURCES, STARTS, SYNTHETIC, Row
from medusis_tf.studies.downstream.summary import (
    PairedTest,
    Result,
    RowScores,
    all_tests,
    attainable_p,
)

# Share of the upper bound that counts as a success.
REACH = 0.9
_FIRST = "trained on"


def study_tables(rows: Mapping[str, RowScores]) -> list[EvaluationTable]:
    """The tables of a study; tables without rows are left out.

    Args:
        rows: Scores by the key of the row.
    """
    single = [each for each in rows.values() if not each.row.is_fine_tuning]
    tables = [
        _main_table(rows, single),
        _class_table("Dice by class", single, "by_class", 3),
        _class_table("HD95 mm by class", single, "hd95_by_class", 1),
        _patient_table(single),
        _fine_tuning_table(rows),
    ]
    return [table for table in tables if table.rows]


def study_verdicts(rows: Mapping[str, RowScores]) -> list[Verdict]:
    """What the study says of synthetic images, and what it cannot say."""
    found = list(_verdicts(rows))
    patients = next(iter(rows.values())).patients
    attainable = attainable_p(len(patients))
    if attainable > 0.05:
        found.append(
            Verdict(
                "Few patients",
                f"With {_patients(len(patients))} to test on, "
                f"no p below {attainable:g} is possible.",
                None,
            )
        )
    return found


def csv_text(results: Sequence[Result]) -> str:
    """All results with one class of one patient on a line, unrounded; empty for no value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "seed", "patient", "class", "dice", "hd95_mm"])
    for result in results:
        for patient, classes in result.scores.items():
            for name, found in classes.items():
                values = ("" if np.isnan(v) else repr(v) for v in (found.dice, found.hd95_mm))
                writer.writerow([result.row.key, result.seed, patient, name, *values])
    return buffer.getvalue()


def _main_table(rows: Mapping[str, RowScores], single: Sequence[RowScores]) -> EvaluationTable:
    tests = {test.against: test for test in all_tests(rows) if test.row == SYNTHETIC}
    bound = rows.get(REAL)
    columns = [
        "patients", "mean Dice", "± over seeds", "of the upper bound", "mean HD95 mm",
        "classes not found", "p against synthetic",
    ]  # fmt: skip
    lines = [
        (
            each.row.title,
            [
                str(each.trained_on),
                _text(each.mean_dice),
                _text(_deviation(each.by_seed)),
                MISSING if bound is None else f"{100 * each.mean_dice / bound.mean_dice:.1f} %",
                _text(each.mean_hd95_mm, 1),
                str(each.not_found),
                _p(tests.get(each.row.key)),
            ],
        )
        for each in single
    ]
    return EvaluationTable("Segmenters, tested on real MR", columns, lines, _notes(rows), _FIRST)


def _notes(rows: Mapping[str, RowScores]) -> list[str]:
    first = next(iter(rows.values()))
    seeds = sorted({seed for each in rows.values() for seed in each.seeds})
    return [
        f"mean over {len(first.class_names)} classes, {_patients(len(first.patients))} and seeds "
        f"{', '.join(map(str, seeds))}; Dice and HD95 of volumes",
        "HD95 leaves out classes that were not found; their Dice is 0. classes not found: classes "
        "of a label map of which no voxel was found, number over all patients and seeds",
        _test_note(rows),
    ]


def _test_note(rows: Mapping[str, RowScores]) -> str:
    tests, patients = all_tests(rows), next(iter(rows.values())).patients
    kind = "exact permutation test"
    if drawn := [test.attainable for test in tests if not test.is_exact]:
        kind = f"permutation test with random signs (no p below {max(drawn):.2g})"
    left_out = max((len(patients) - test.patients for test in tests), default=0)
    without = f", without {_patients(left_out)} that had no Dice" if left_out else ""
    return (
        f"p: {kind} over the patients' mean Dice{without}, two-sided, not corrected for the number "
        "of comparisons"
    )


def _class_table(
    title: str, single: Sequence[RowScores], values: str, digits: int
) -> EvaluationTable:
    """A line for each class, because there may be many."""
    names = single[0].class_names if single else ()
    lines = [
        (name, [_text(getattr(each, values)[place], digits) for each in single])
        for place, name in enumerate(names)
    ]
    return EvaluationTable(title, [each.row.short_title for each in single], lines, (), "class")


def _patient_table(single: Sequence[RowScores]) -> EvaluationTable:
    patients = single[0].patients if single else ()
    lines = [
        (patient, [_text(each.by_patient[place]) for each in single])
        for place, patient in enumerate(patients)
    ]
    columns, notes = [each.row.short_title for each in single], ["mean over classes and seeds"]
    return EvaluationTable("Dice by patient", columns, lines, notes, "patient")


def _fine_tuning_table(rows: Mapping[str, RowScores]) -> EvaluationTable:
    counts = sorted({e.row.patients for e in rows.values() if e.row.patients is not None})
    starts = [start for start in STARTS if any(_tuned(rows, n, start) for n in counts)]
    tests = {(test.row, test.against): test for test in all_tests(rows)}
    others = [start for start in starts if start != SYNTHETIC and SYNTHETIC in starts]
    columns = [
        *map(_start_title, starts),
        *(f"p against {start or 'none'}" for start in others),
    ]
    lines = []
    for count in counts:
        found = {start: _tuned(rows, count, start) for start in starts}
        cells = [MISSING if each is None else _text(each.mean_dice) for each in found.values()]
        own = Row(REAL, count, SYNTHETIC).key
        cells += [_p(tests.get((own, Row(REAL, count, start).key))) for start in others]
        lines.append((str(count), cells))
    notes = [
        "mean Dice; other patients for each seed. Without pre-training, as many steps as above; "
        "after it, a quarter of them. p: of synthetic MR"
    ]
    return EvaluationTable("Pre-training", columns, lines, notes, "real patients")


def _tuned(rows: Mapping[str, RowScores], count: int, start: str | None) -> RowScores | None:
    return rows.get(Row(REAL, count, start).key)


def _start_title(start: str | None) -> str:
    return "none" if start is None else SOURCES[start]


def _verdicts(rows: Mapping[str, RowScores]) -> Iterator[Verdict]:
    synthetic, bound = rows.get(SYNTHETIC), rows.get(REAL)
    if synthetic is not None and bound is not None:
        ratio = synthetic.mean_dice / bound.mean_dice
        yield Verdict(
            "Synthetic MR only",
            f"mean Dice {synthetic.mean_dice:.3f}, {100 * ratio:.0f} % of {bound.mean_dice:.3f} "
            f"with real MR of {_patients(bound.trained_on)}.",
            ratio >= REACH,
        )
    baselines = [
        each
        for each in rows.values()
        if not each.row.is_fine_tuning and each.row.source not in (SYNTHETIC, REAL)
    ]
    if synthetic is not None and baselines:
        best = max(baselines, key=lambda each: each.mean_dice)
        difference = synthetic.mean_dice - best.mean_dice
        yield Verdict(
            "Against the best baseline",
            f"{best.row.title}: mean Dice {best.mean_dice:.3f}; synthetic MR is "
            f"{abs(difference):.3f} {'better' if difference > 0 else 'worse'}.",
            difference > 0,
        )
    yield from _fine_tuning_verdicts(rows)


def _fine_tuning_verdicts(rows: Mapping[str, RowScores]) -> Iterator[Verdict]:
    counts = sorted({e.row.patients for e in rows.values() if e.row.patients is not None})
    for count in counts:
        with_it, without = _tuned(rows, count, SYNTHETIC), _tuned(rows, count, None)
        if with_it is not None and without is not None:
            difference = with_it.mean_dice - without.mean_dice
            yield Verdict(
                f"Pre-training, then {_patients(count)}",
                f"mean Dice {with_it.mean_dice:.3f} after synthetic MR, {without.mean_dice:.3f} "
                "without pre-training.",
                difference > 0,
            )


def _patients(count: int) -> str:
    return f"{count} patient{'' if count == 1 else 's'}"


def _p(test: PairedTest | None) -> str:
    return MISSING if test is None or np.isnan(test.p) else f"{test.p:.3g}"


def _deviation(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _text(value: float, digits: int = 3) -> str:
    return MISSING if np.isnan(value) else f"{value:.{digits}f}"
