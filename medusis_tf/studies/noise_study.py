"""Effect of the noise on the images: `medusis noise-study --run DIR [--without DIR] --out DIR`.

Synthesizes images of the test subjects' label maps with several noise samples, drawn from normal
distributions with different truncation bounds, and measures how the images differ. A second run,
trained with `generator.noise_dim=0`, is the reference without noise.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from medusis_tf.config.data import Split
from medusis_tf.config.limits import LARGEST_COUNT
from medusis_tf.data.shards.spread import spread_centres, step_within
from medusis_tf.errors import UserError

if TYPE_CHECKING:
    from medusis_tf.config.experiment import ExperimentConfig
    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.metrics.diversity import NoiseSpread
    from medusis_tf.serving.predictor import SlicePainter

logger = logging.getLogger("medusis_tf.noise_study")

TRUNCATIONS = (0.5, 1.0, 1.5, math.inf)
NUM_PANEL_ROWS = 3
NUM_PANEL_NOISES = 3
# Slices synthesized with every noise sample, spread over the test subjects.
MAX_SLICES = 64
WITHOUT = "without noise"
_SPLITS: tuple[Split, ...] = ("validation", "test")

# Images `[noises, slices, height, width]` by the name of the truncation.
Images = dict[str, np.ndarray]


@dataclass(frozen=True)
class NoiseRow:
    """Measurements for one truncation.

    Attributes:
        spread: Variation of the images between noise samples.
        frechet_radiomics_distance: Distance to the real training images; NaN with fewer than two
            slices.
    """

    spread: "NoiseSpread"
    frechet_radiomics_distance: float


Rows = dict[str, NoiseRow]


def noise_study(
    run: Annotated[Path, typer.Option(help="Folder of a run with noise.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    without: Annotated[
        Path | None, typer.Option(help="Folder of a run with generator.noise_dim=0.")
    ] = None,
    noises: Annotated[
        int, typer.Option(min=2, max=LARGEST_COUNT, help="Noise samples for each label map.")
    ] = 8,
    split: Annotated[
        str, typer.Option(help="Split of the label maps: test or validation.")
    ] = "test",
) -> None:
    """Measure the effect of the noise and its truncation; write noise.json, .md and .png."""
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.methods.experiment import load_config
    from medusis_tf.panels import write_png
    from medusis_tf.serving.exporter import painter_of_run

    painter, config = painter_of_run(run), load_config(run / "config.yaml")
    _check_noise(painter, run, has_noise=True)
    plain = None
    if without is not None:
        plain = painter_of_run(without)
        _check_noise(plain, without, has_noise=False)
    shards = prepare_shards(config, jobs=None)
    label_maps = _label_maps(shards, split)
    images = _paint(painter, plain, label_maps, noises)
    rows = _measure(images, label_maps, shards)
    _write(out, painter.metadata.title, rows, noises)
    write_png(out / "noise.png", _panel(painter, config, images, label_maps))
    logger.info("%s\nwrote %s", table(rows), out / "noise.md")


def table(rows: Mapping[str, NoiseRow]) -> str:
    """Markdown table with one line per truncation."""
    lines = [
        "| noise | brightness over noises | brightness over slices | distance between noises "
        "| Frechet radiomics distance to real images |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        cells = " | ".join(f"{value:.4f}" for value in asdict(row.spread).values())
        lines.append(f"| {name} | {cells} | {row.frechet_radiomics_distance:.1f} |")
    return "\n".join(lines)


def _check_noise(painter: "SlicePainter", run: Path, has_noise: bool) -> None:
    if painter.metadata.volumes is not None:
        raise UserError(f"{run} paints volumes, and this study is of slices. Give another run.")
    if painter.metadata.has_noise != has_noise:
        found, wanted = ("without", "with") if has_noise else ("with", "without")
        raise UserError(f"{run} was trained {found} noise. Give a run {wanted} noise.")


def _label_maps(shards: "Shards", split: str) -> np.ndarray:
    chosen = [name for name in _SPLITS if name == split]
    if not chosen:
        raise UserError(f"--split must be {' or '.join(_SPLITS)}. Received: {split}")
    entries = shards.subjects(chosen[0], "label_map")
    parts = [shards.read(entry).label_map for entry in entries]
    slices = [part for part in parts if part is not None]
    if not slices:
        raise UserError(f"no subject of the {split} split has a label map. Give another --split.")
    joined = np.concatenate(slices)
    return joined[:: step_within(MAX_SLICES, len(joined))]


def _paint(
    painter: "SlicePainter", plain: "SlicePainter | None", label_maps: np.ndarray, noises: int
) -> Images:
    from medusis_tf.metrics.diversity import truncation_name

    painted = {}
    for truncation in TRUNCATIONS:
        drawn = [painter.draw_noise(seed, truncation) for seed in range(noises)]
        images = np.stack([painter.paint(label_maps, noise) for noise in drawn])
        painted[f"truncation {truncation_name(truncation)}"] = images
        logger.info("synthesized: truncation %s", truncation_name(truncation))
    if plain is not None:
        noise = plain.draw_noise(0)
        painted[WITHOUT] = plain.paint(label_maps, noise)[np.newaxis]
    return painted


def _measure(images: Images, label_maps: np.ndarray, shards: "Shards") -> Rows:
    from medusis_tf.data.labels.body import fill_holes
    from medusis_tf.evaluation.setup import real_images
    from medusis_tf.metrics.distribution import FeatureSet, compare
    from medusis_tf.metrics.diversity import noise_spread
    from medusis_tf.metrics.extractors import RadiomicsExtractor

    extractor = RadiomicsExtractor()
    real = FeatureSet(extractor.dimension)
    for slices in real_images(shards, "train"):
        real.update(extractor(slices))
    bodies = fill_holes(label_maps != 0)
    rows = {}
    for name, found in images.items():
        features = FeatureSet(extractor.dimension)
        for slices in found:
            features.update(extractor(slices))
        distance = compare(features, real, extractor.has_units).get("frechet_distance", math.nan)
        rows[name] = NoiseRow(noise_spread(found, bodies), distance)
    return rows


def _write(out: Path, title: str, rows: Rows, noises: int) -> None:
    from medusis_tf.reports.formatting import strict_json

    content = {
        "model": title,
        "noises": noises,
        "intensities": "in [0, 1], inside the body of the label map, holes filled",
        "frechet_radiomics_distance": "of hand-made features inside the body to those of the real "
        "training images; not an FID",
        "rows": {name: _as_json(row) for name, row in rows.items()},
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "noise.json").write_text(strict_json(content), encoding="utf-8")
        (out / "noise.md").write_text(table(rows) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}. Give another --out.") from None


def _as_json(row: NoiseRow) -> dict[str, float]:
    return {
        **asdict(row.spread),
        "frechet_radiomics_distance": row.frechet_radiomics_distance,
    }


def _panel(
    painter: "SlicePainter",
    config: "ExperimentConfig",
    images: Images,
    label_maps: np.ndarray,
) -> np.ndarray:
    """Panel of label maps and images of the smallest and largest truncation; no real image."""
    from medusis_tf.panels import PanelRow, panel

    chosen = [name for name in images if name.endswith((" 0.5", " none")) or name == WITHOUT]
    rows = []
    for place in spread_centres(NUM_PANEL_ROWS, len(label_maps)):
        columns = {
            f"{name.removeprefix('truncation ')}, {number}": found[place]
            for name in chosen
            for number, found in enumerate(images[name][:NUM_PANEL_NOISES])
        }
        rows.append(PanelRow(label_maps[place], columns))
    return panel(rows, config.data.classes, f"{painter.metadata.title}: truncation, noise")
