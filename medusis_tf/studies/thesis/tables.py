"""The thesis's tables: what was published beside what came out here, as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from medusis_tf.evaluation.segmenters import EXTERNAL, INDEPENDENT

Kind = Literal["published", "thesis", "correct"]
_KINDS: Mapping[Kind, str] = {
    "published": "published",
    "thesis": "thesis protocol, here",
    "correct": "correct, here",
}
NOT_COMPARABLE = (
    "Published figures are of SynthRAD2023 and AutoPET, trained to the end. Those of other data, "
    "other step counts or another split are not comparable with them. docs/reproduce_thesis.md "
    "says why they are to be doubted even on the same data."
)
PROTOCOLS = (
    "Thesis protocol: SSIM with data range 255 on images in [0, 1], which makes it a rescaled "
    "squared error; PSNR and RMSE of batches of 20 slices; LPIPS fed images in [0, 1]. Correct: "
    "data range 1, the mean of patients' means, LPIPS fed [-1, 1]. FID is defined once and stands "
    "in both; the published mIoU has no protocol that could be repeated."
)


@dataclass(frozen=True)
class Published:
    """Figures of a row as published.

    Attributes:
        data_set: They are of.
        figures: Key of a measure to value.
        source: Where they stand.
        doubt: What is wrong with them.
    """

    data_set: str
    figures: Mapping[str, float]
    source: str
    doubt: str = ""

    @property
    def text(self) -> str:
        """As a note below a table."""
        return f"{self.data_set}: {self.source}" + (f"; {self.doubt}" if self.doubt else "")


@dataclass(frozen=True)
class TableRow:
    """A row of a table.

    Attributes:
        title: In the first column.
        results: Seed to figures, of what was run here.
        published: What there is beside.
        problem: Why it was not run, or not for all seeds; None if it was.
    """

    title: str
    results: Mapping[int, ThesisFigures] = field(default_factory=dict)
    published: Sequence[Published] = ()
    problem: str | None = None

    def values(self, measure: str, kind: Kind) -> dict[str, float]:
        """Seed, or text of the source, to value."""
        if kind == "published":
            return {
                each.text: each.figures[measure]
                for each in self.published
                if measure in each.figures
            }
        found = {str(seed): each.get(measure, {}).get(kind) for seed, each in self.results.items()}
        return {seed: value for seed, value in found.items() if value is not None}


@dataclass(frozen=True)
class ThesisTable:
    """A table of the thesis.

    Attributes:
        title: Above it.
        rows: Its rows.
        notes: Below it.
    """

    title: str
    rows: Sequence[TableRow]
    notes: Sequence[str] = ()

    @property
    def columns(self) -> list[tuple[Measure, list[Kind]]]:
        """Measures and whose values of them there are; what no row has is left out."""
        found = [
            (measure, [k for k in _KINDS if any(r.values(measure.key, k) for r in self.rows)])
            for measure in MEASURES
        ]
        return [(measure, kinds) for measure, kinds in found if kinds]

    @property
    def sources(self) -> list[str]:
        """Where published figures are from; number 1 first."""
        return list(dict.fromkeys(each.text for row in self.rows for each in row.published))

    @property
    def problems(self) -> list[str]:
        """What was not run, and why."""
        return [f"{row.title}: {row.problem}" for row in self.rows if row.problem]

    def cells(self, row: TableRow) -> list[tuple[Kind, str]]:
        """What stands in a row beside its title, and whose figure each cell holds.

        Published figures with the number of their source in brackets; several seeds as their
        mean, with each in brackets.
        """
        return [
            (kind, self._cell(row, measure, kind))
            for measure, kinds in self.columns
            for kind in kinds
        ]

    def _cell(self, row: TableRow, measure: Measure, kind: Kind) -> str:
        values = row.values(measure.key, kind)
        if kind == "published":
            # As printed: their decimals are theirs.
            shown = [f"{v:g} [{1 + self.sources.index(text)}]" for text, v in values.items()]
            return ", ".join(shown)
        each = [f"{value:.{measure.digits}f}" for value in values.values()]
        if len(each) < 2:
            return "".join(each)
        mean = sum(values.values()) / len(values)
        return f"{mean:.{measure.digits}f} ({', '.join(each)})"


def column_title(kind: Kind) -> str:
    """What stands above a column of a measure."""
    return _KINDS[kind]


def markdown(title: str, origin: Sequence[str], tables: Sequence[ThesisTable]) -> str:
    """All tables as one Markdown page.

    Args:
        title: Its heading.
        origin: Lines that say of what data and steps the figures are.
        tables: What to show.
    """
    lines = [f"# {title}", "", *_paragraphs([*origin, NOT_COMPARABLE, PROTOCOLS])]
    for table in tables:
        lines += [f"## {table.title}", "", *_table_lines(table), ""]
        lines += [f"{number}. {text}" for number, text in enumerate(table.sources, start=1)]
        lines += [""] if table.sources else []
        lines += _paragraphs(table.notes)
        lines += [f"* {problem}" for problem in table.problems]
        lines += [""] if table.problems else []
    return "\n".join(lines).rstrip() + "\n"


def csv_text(tables: Sequence[ThesisTable]) -> str:
    """All tables as one list, a figure to a line, unrounded.

    `kind` is `published`, `thesis` or `correct`; `seed_or_source` is the seed of a figure that was
    made here, or where a published one is from. A row that was not run has a line with its reason,
    of kind `not run`.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["table", "row", "measure", "kind", "seed_or_source", "value"])
    for table in tables:
        for row in table.rows:
            writer.writerows([table.title, row.title, *line] for line in _csv_lines(row))
    return buffer.getvalue()


def _csv_lines(row: TableRow) -> Iterator[list[str]]:
    for measure in MEASURES:
        for kind in _KINDS:
            for origin, value in row.values(measure.key, kind).items():
                yield [measure.key, kind, origin, repr(value)]
    if row.problem:
        yield ["", "not run", row.problem, ""]


def _table_lines(table: ThesisTable) -> list[str]:
    titles = [
        f"{measure.title}, {_KINDS[kind]}" for measure, kinds in table.columns for kind in kinds
    ]
    lines = [["row", *titles], ["---"] + ["---:"] * len(titles)]
    for row in table.rows:
        title = f"{row.title} (not run)" if row.problem and not row.results else row.title
        lines.append([title, *(text or "-" for _, text in table.cells(row))])
    return ["| " + " | ".join(line) + " |" for line in lines]


def _paragraphs(texts: Sequence[str]) -> list[str]:
    return [line for text in texts for line in (text, "")]


Protocol = Literal["thesis", "correct"]
# Measure to protocol to value; what was not measured is left out.
ThesisFigures = Mapping[str, Mapping[Protocol, float]]


@dataclass(frozen=True)
class Measure:
    """A column of the thesis's tables.

    Attributes:
        key: In files.
        title: Above the column.
        digits: Decimals shown.
    """

    key: str
    title: str
    digits: int


MEASURES = (
    Measure("ssim", "SSIM", 4),
    Measure("psnr", "PSNR dB", 2),
    Measure("rmse", "RMSE", 3),
    Measure("lpips", "LPIPS", 3),
    Measure("fid", "FID", 2),
    Measure("frechet", "Frechet distance (other Inception weights)", 2),
    Measure("kid", "KID", 5),
    Measure("miou", "mIoU", 3),
    Measure("dice", "Dice", 3),
)


def read_figures(method: Mapping[str, Any]) -> ThesisFigures:
    """What the tables need of one method of `metrics.json`.

    FID is one definition, so that both protocols have the same. LPIPS is that over VGG16, or over
    AlexNet if only that was asked for. mIoU and Dice are those of a segmenter that was given: a
    run's own reads what it agreed on with the generator.

    Args:
        method: An entry of `methods`.
    """
    found: dict[str, dict[Protocol, float]] = {}
    for measure, protocol, value in _values(method):
        if value is not None:
            found.setdefault(measure, {})[protocol] = float(value)
    return found


def _values(method: Mapping[str, Any]) -> Iterator[tuple[str, Protocol, float | None]]:
    for key in ("ssim", "psnr", "rmse"):
        if "thesis_protocol" in method:
            yield key, "thesis", method["thesis_protocol"][key]
        if "similarity" in method:
            yield key, "correct", method["similarity"]["slice"][key]["mean"]
    networks = method.get("perceptual", {})
    if networks:
        chosen = networks.get("vgg16") or next(iter(networks.values()))
        yield "lpips", "thesis", chosen["lpips_thesis_protocol"]["mean"]
        yield "lpips", "correct", chosen["lpips"]["mean"]
    inception = method.get("distribution", {}).get("inception")
    if inception is not None and "frechet_distance" in inception:
        key = "fid" if inception["frechet_name"] == "FID" else "frechet"
        yield key, "thesis", inception["frechet_distance"]
        yield key, "correct", inception["frechet_distance"]
        yield "kid", "correct", inception["kernel_distance"]["mean"]
    for name in (INDEPENDENT, EXTERNAL):
        if (classes := method.get("segmentation", {}).get(name)) is not None:
            yield "miou", "correct", classes["mean_iou"]
            yield "dice", "correct", classes["mean_dice"]
            return
