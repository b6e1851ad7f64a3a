"""The thesis's tables with published and reproduced values, as Markdown and CSV."""

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
    "Published values are of SynthRAD2023 and AutoPET, after complete trainings. Values of other "
    "data, step counts or splits are not comparable with them. docs/reproduce_thesis.md explains "
    "why the published values are questionable even on the same data."
)
PROTOCOLS = (
    "Thesis protocol: SSIM with data range 255 on images in [0, 1], which makes it a rescaled "
    "squared error; PSNR and RMSE of batches of 20 slices; LPIPS of images in [0, 1]. Correct: "
    "data range 1, mean of the patients' means, LPIPS of images in [-1, 1]. FID has one definition "
    "and is in both; the protocol of the published mIoU cannot be reproduced."
)


@dataclass(frozen=True)
class Published:
    """Published values of a row.

    Attributes:
        data_set: Data set of the values.
        metrics: Values by metric key.
        source: Table or document with the values.
        caveat: Known problem of the values; empty if there is none.
    """

    data_set: str
    metrics: Mapping[str, float]
    source: str
    caveat: str = ""

    @property
    def text(self) -> str:
        """Note below a table."""
        return f"{self.data_set}: {self.source}" + (f"; {self.caveat}" if self.caveat else "")


@dataclass(frozen=True)
class TableRow:
    """Row of a table.

    Attributes:
        title: Text of the first column.
        results: Metrics of the reproduced runs by seed.
        published: Published values.
        problem: Reason for missing runs; None if all seeds were run.
    """

    title: str
    results: Mapping[int, ThesisMetrics] = field(default_factory=dict)
    published: Sequence[Published] = ()
    problem: str | None = None

    def values(self, measure: str, kind: Kind) -> dict[str, float]:
        """Values by seed or, if published, by text of the source."""
        if kind == "published":
            return {
                each.text: each.metrics[measure]
                for each in self.published
                if measure in each.metrics
            }
        found = {str(seed): each.get(measure, {}).get(kind) for seed, each in self.results.items()}
        return {seed: value for seed, value in found.items() if value is not None}


@dataclass(frozen=True)
class ThesisTable:
    """Table of the thesis.

    Attributes:
        title: Heading of the table.
        rows: Rows of the table.
        notes: Notes below the table.
    """

    title: str
    rows: Sequence[TableRow]
    notes: Sequence[str] = ()

    @property
    def columns(self) -> list[tuple[Measure, list[Kind]]]:
        """Metrics with the kinds of their values; metrics without any value are omitted."""
        found = [
            (measure, [k for k in _KINDS if any(r.values(measure.key, k) for r in self.rows)])
            for measure in MEASURES
        ]
        return [(measure, kinds) for measure, kinds in found if kinds]

    @property
    def sources(self) -> list[str]:
        """Sources of the published values, in the order of their numbers from 1."""
        return list(dict.fromkeys(each.text for row in self.rows for each in row.published))

    @property
    def problems(self) -> list[str]:
        """Rows with missing runs, and the reasons."""
        return [f"{row.title}: {row.problem}" for row in self.rows if row.problem]

    def cells(self, row: TableRow) -> list[tuple[Kind, str]]:
        """Kind and text of each cell of a row, without the title.

        Published values have the number of their source in brackets. Several seeds are shown as
        their mean, with the value of each seed in brackets.
        """
        return [
            (kind, self._cell(row, measure, kind))
            for measure, kinds in self.columns
            for kind in kinds
        ]

    def _cell(self, row: TableRow, measure: Measure, kind: Kind) -> str:
        values = row.values(measure.key, kind)
        if kind == "published":
            # With the decimals of the publication.
            shown = [f"{v:g} [{1 + self.sources.index(text)}]" for text, v in values.items()]
            return ", ".join(shown)
        each = [f"{value:.{measure.digits}f}" for value in values.values()]
        if len(each) < 2:
            return "".join(each)
        mean = sum(values.values()) / len(values)
        return f"{mean:.{measure.digits}f} ({', '.join(each)})"


def column_title(kind: Kind) -> str:
    """Heading of a column of a metric."""
    return _KINDS[kind]


def markdown(title: str, origin: Sequence[str], tables: Sequence[ThesisTable]) -> str:
    """Format all tables as one Markdown page.

    Args:
        title: Heading of the page.
        origin: Lines with the data set, the training steps and the seeds of the values.
        tables: Tables of the page.
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
    """Format all tables as one CSV text with one unrounded value per line.

    `kind` is `published`, `thesis` or `correct`. `seed_or_source` is the seed of a reproduced value
    or the source of a published one. A row with missing runs has a line of kind `not run` with the
    reason.
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
# Values by metric and protocol; metrics that were not computed are omitted.
ThesisMetrics = Mapping[str, Mapping[Protocol, float]]


@dataclass(frozen=True)
class Measure:
    """Metric in the columns of the thesis's tables.

    Attributes:
        key: Name in files.
        title: Heading of the columns.
        digits: Number of decimals shown.
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


def read_metrics(method: Mapping[str, Any]) -> ThesisMetrics:
    """Read the metrics of the tables from one method of `metrics.json`.

    FID has one definition and is the same for both protocols. LPIPS uses VGG16, or AlexNet if only
    AlexNet was evaluated. mIoU and Dice need a separate segmenter: a run's own segmenter is trained
    together with the generator and therefore biased.

    Args:
        method: Entry of `methods`.
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
