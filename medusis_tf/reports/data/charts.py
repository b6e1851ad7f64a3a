"""Charts of the data report: drawn with matplotlib, returned as SVG elements for HTML.

Colours are variables of the page's style sheet, so that charts follow its light and dark mode, and
text remains text, in the font of the page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from statistics import mean
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context, style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from medusis_tf.reports.formatting import count, millimetres, percent, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from medusis_tf.config.taxonomy import ClassEntry
    from medusis_tf.reports.data.intensity_curves import IntensityCurves, SplitIntensities
    from medusis_tf.reports.data.summary import ClassGroup, Spacings

# Smaller shares are drawn on the axis of a histogram.
_SMALLEST_SHARE = 1e-4
# Spacings closer than about this fraction of the axis are drawn as one dot.
_DOT_DISTANCE = 1 / 120
_ROW_HEIGHT = 22
_TOOLTIP = "tooltip: "
_HREF = "{http://www.w3.org/1999/xlink}href"

# matplotlib rejects `var(--name)` as a colour, so it draws with placeholders.
_VARIABLES = ("ink", "faint", "grid", "curve", "accent", "warn", "bar-edge")
_COLOURS = {
    name: f"#fe01{number:02x}"
    for number, name in enumerate((*_VARIABLES, "c0", "c1", "c2", "c3", "c4", "c5"))
}
_STYLE = {
    "figure.dpi": 72,  # a point is a pixel of the page
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "figure.constrained_layout.w_pad": 8 / 72,
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
    **dict.fromkeys(("xtick.color", "ytick.color", "axes.labelcolor"), _COLOURS["faint"]),
    "text.color": _COLOURS["faint"],
    "axes.titlecolor": _COLOURS["ink"],
    "axes.edgecolor": _COLOURS["curve"],
    "grid.color": _COLOURS["grid"],
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    **dict.fromkeys((f"axes.spines.{side}" for side in ("left", "right", "top")), False),
    **dict.fromkeys(("xtick.bottom", "ytick.left", "legend.frameon", "text.parse_math"), False),
}


@contextmanager
def _chart_style() -> Iterator[None]:
    with style.context(["default", _STYLE]):  # without the settings of the user's matplotlibrc
        yield


@_chart_style()
def curve_chart(split: SplitIntensities, stage: str) -> Markup:
    """Draw the intensity histograms of one split on a log scale.

    The legend names the subjects in `split.coloured`. The other subjects are grey, with their
    name as tooltip. The median is dashed.

    Args:
        split: The histograms.
        stage: Key of `split.stages`.
    """
    curves = split.stages[stage]
    legend_columns = max(1, 80 // (7 + max(map(len, split.coloured))))
    figure = _figure(560, 238 + 17 * math.ceil((1 + len(split.coloured)) / legend_columns))
    axes = figure.add_subplot()
    coloured = {subject: f"c{number}" for number, subject in enumerate(split.coloured)}
    grey = dict.fromkeys(set(split.drawn).difference(coloured), "curve")
    _draw_curves(axes, curves, dict(sorted(grey.items())) | dict(reversed(coloured.items())))
    ticks = (1, 0.1, 0.01, 0.001)
    axes.set_yticks(ticks, [percent(share) for share in ticks])
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: significant(value, 4))
    axes.set_xlabel(f"intensity {stage}")
    figure.legend(loc="outside lower left", ncols=legend_columns, reverse=True)
    return _inline_svg(
        figure,
        f"Histograms of the intensity {stage}, {split.split} split",
        f"Share of the voxels in each bin, for {count(len(curves.subjects))} subjects.",
    )


@_chart_style()
def spark_chart(split: SplitIntensities, stage: str, subject: str) -> Markup:
    """Draw a small histogram of one subject and the median of its split.

    Args:
        split: The histograms.
        stage: Key of `split.stages`.
        subject: Name of a subject with a histogram of this stage.
    """
    figure = Figure(figsize=(132 / 72, 34 / 72))
    axes = figure.add_axes((0, 0.03, 1, 0.94))
    _draw_curves(axes, split.stages[stage], {subject: "accent"})
    axes.lines[-1].set_zorder(3)
    axes.set(xticks=[], yticks=[])
    return _inline_svg(
        figure,
        f"Histogram of the intensity {stage}, {subject}",
        "Share of the voxels in each bin; dashed: median of the split.",
    )


@_chart_style()
def class_chart(
    classes: Sequence[ClassEntry], groups: Sequence[ClassGroup], untrained: Collection[int]
) -> Markup:
    """Draw the class frequencies of every group as bars on a log scale, with their values.

    Args:
        classes: Class table; class i is at index i.
        groups: Class frequencies of at least one group.
        untrained: Ids of the classes that never occur in training; they are marked.
    """
    positive = [g.fraction(e.id) for g in groups for e in classes if g.fraction(e.id)]
    # The axis starts a little below the rarest class, so that its bar is visible.
    decades = max(1, -math.floor(math.log10(0.9 * min(positive, default=0.1))))
    figure = _figure(max(1134, 370 + 240 * len(groups)), 60 + _ROW_HEIGHT * len(classes))
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    marks = dict.fromkeys(untrained, " (never in training)")
    _label_rows(panels[0], [f"{e.id}  {e.name}{marks.get(e.id, '')}" for e in classes])
    for class_id in untrained:
        panels[0].get_yticklabels()[class_id].set_color(_COLOURS["warn"])
    colours = [np.divide(entry.colour, 255) for entry in classes]
    for axes, group in zip(panels, groups, strict=True):
        _draw_bars(axes, group, colours, decades)
    return _inline_svg(figure, "Class frequencies", "Share of the pixels of each class.")


@_chart_style()
def spacing_chart(rows: Sequence[Spacings]) -> Markup:
    """Draw the spacings of all volumes as dots, with the minimum, median and maximum.

    The area of a dot grows with the number of volumes at this position. A line marks the median.

    Args:
        rows: Spacings of every domain along every direction.
    """
    figure = _figure(1134, 40 + _ROW_HEIGHT * len(rows))
    axes = figure.add_subplot()
    right = 1.05 * max(max(row.values_mm) for row in rows)
    axes.set_xlim(0, right)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{millimetres(value)} mm")
    _label_rows(axes, [f"{row.domain}, {row.direction}" for row in rows])
    for y, row in enumerate(rows):
        axes.plot([row.median_mm] * 2, [y - 0.4, y + 0.4], color=_COLOURS["curve"], lw=1)
        for _, near in groupby(sorted(row.values_mm), lambda mm: round(mm / right / _DOT_DISTANCE)):
            dot = list(near)
            axes.plot(
                mean(dot), y, "o", color=_COLOURS["accent"], alpha=0.6, markeredgewidth=0,
                markersize=2 * min(9.0, 2.6 + math.sqrt(len(dot))),
                gid=f"{_TOOLTIP}{len(dot)} at about {significant(mean(dot))} mm",
            )  # fmt: skip
    texts = [["minimum", "median", "maximum"]]
    for row in rows:
        values = (min(row.values_mm), row.median_mm, max(row.values_mm))
        texts.append([f"{millimetres(value)} mm" for value in values])
    _write_columns(axes, texts)
    return _inline_svg(figure, "Spacings", "Spacing of every volume along each direction.")


def _draw_curves(axes: Axes, curves: IntensityCurves, colours: Mapping[str, str]) -> None:
    """Draw the median and the curves of some subjects, the last on top; grey ones get no label."""
    axes.set(xlim=(curves.lower, curves.upper), yscale="log", ylim=(_SMALLEST_SHARE, 1))
    axes.minorticks_off()
    if curves.median is not None:
        shares = np.maximum(curves.median, _SMALLEST_SHARE)
        axes.plot(
            curves.middles, shares, "--", color=_COLOURS["ink"], lw=1.3, zorder=2.5, label="median"
        )
    lines = {name: curves.share_of(name) for name in colours if name in curves.subjects}
    for subject, shares in lines.items():
        grey = colours[subject] == "curve"
        axes.plot(
            curves.middles, np.maximum(shares, _SMALLEST_SHARE), color=_COLOURS[colours[subject]],
            lw=1 if grey else 1.5, alpha=0.5 if grey else 1, gid=_TOOLTIP + subject,
            label=None if grey else subject,
        )  # fmt: skip


def _draw_bars(axes: Axes, group: ClassGroup, colours: Sequence[np.ndarray], decades: int) -> None:
    subjects = f"{count(group.num_subjects)} subject{'' if group.num_subjects == 1 else 's'}"
    axes.set_title(f"{group.split}: {group.domain}, {subjects}", loc="left", zorder=0)
    axes.set(xscale="log", xlim=(10.0**-decades, 1))
    ticks = [10.0**-exponent for exponent in range(0, decades + 1, -(-decades // 4))]
    axes.set_xticks(ticks, [percent(tick) for tick in ticks])
    axes.minorticks_off()
    texts = [["pixels", "subjects"]]
    for row, colour in enumerate(colours):
        share = group.fraction(row)
        texts.append(["none", ""])
        if share:
            texts[-1] = [percent(share), f"{group.subjects_with[row]}/{group.num_subjects}"]
            axes.barh(
                row, share - 10.0**-decades, height=0.55, left=10.0**-decades,
                color=colour, edgecolor=_COLOURS["bar-edge"],
            )  # fmt: skip
    _write_columns(axes, texts)


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels, fontsize=13, color=_COLOURS["ink"])
    axes.tick_params("y", pad=8)


def _write_columns(axes: Axes, texts: Sequence[Sequence[str]]) -> None:
    """Write a heading and a value for each row to the right of the axes, in columns."""
    axes.grid(visible=False, axis="y")
    axes.spines["bottom"].set_visible(False)
    axes.xaxis.tick_top()
    axes.tick_params("x", length=0)
    for row, line in enumerate(texts, -1):
        for column, text in enumerate(line, 1):
            axes.annotate(
                text, (1, row), xycoords=axes.get_yaxis_transform(),
                xytext=(64 * column, 0), textcoords="offset points",
                ha="right", va="center_baseline", fontsize=11 if row < 0 else 13,
            )  # fmt: skip


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width / 72, height / 72), layout="constrained")


def _inline_svg(figure: Figure, title: str, description: str) -> Markup:
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": title}):  # ids differ between the charts of a page
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib wrote it
    references = {element.get(_HREF, "#")[1:] for element in root.iter()}
    for element in list(root.iter()):
        for child in list(element):
            if child.tag.endswith(("}metadata", "}style", "}clipPath")):
                element.remove(child)
        _edit(element, references)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "group"}
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        root.insert(place, ElementTree.Element(tag))
        root[place].text = text
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - escaped as XML


def _edit(element: ElementTree.Element, references: Collection[str]) -> None:
    """Remove namespaces, clipping (all is within the axes) and unused ids; round coordinates.

    Placeholders become variables of the style sheet, and an id that is a tooltip a title.
    """
    name = element.attrib.pop("id", "")
    element.attrib.pop("clip-path", None)
    element.tag = element.tag.rpartition("}")[2]
    element.attrib = {key.rpartition("}")[2]: value for key, value in element.items()}
    for key, value in element.items():
        if key == "style":
            for variable, colour in _COLOURS.items():
                value = value.replace(colour, f"var(--{variable})")
        elif key != "href":
            value = re.sub(r"\d+\.\d+", lambda m: f"{round(float(m[0]), 1):g}", value)
        element.set(key, " ".join(value.split()))
    if name in references:
        element.set("id", name)
    if name.startswith(_TOOLTIP):
        element.insert(0, ElementTree.Element("title"))
        element[0].text = name.removeprefix(_TOOLTIP)
