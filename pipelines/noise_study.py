"""What the noise does: `python -m pipelines.noise_study --run DIR [--without DIR] --out DIR`.

Paints the test subjects' label maps with several noises, drawn from a normal distribution that is
truncated at some bounds, and measures how the pictures differ. A second run, trained with
`generator.noise_dim=0`, is what is had without noise.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from medusis_tf.command_line import run as run_command
from medusis_tf.errors import UserError

if TYPE_CHECKING:
    from medusis_tf.data.shards import Shards
    from medusis_tf.metrics.judged_model import JudgedModel
    from medusis_tf.metrics.noise_spread import NoiseSpread

logger = logging.getLogger("medusis_tf.noise_study")

TRUNCATIONS = (0.5, 1.0, 1.5, math.inf)
NUM_PANEL_ROWS = 3
NUM_PANEL_NOISES = 3
# Slices that are painted with every noise, spread over the test subjects.
MAX_SLICES = 64
WITHOUT = "without noise"

Rows = dict[str, "NoiseSpread"]
Pictures = dict[str, np.ndarray]


def noise_study(
    run: Annotated[Path, typer.Option(help="Folder of a run with noise.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    without: Annotated[
        Path | None, typer.Option(help="Folder of a run with generator.noise_dim=0.")
    ] = None,
    noises: Annotated[int, typer.Option(min=2, help="Noises for each label map.")] = 8,
    split: Annotated[str, typer.Option(help="Whose label maps: test or validation.")] = "test",
) -> None:
    """Measure what the noise does, truncated and not, and write noise.json, noise.md, noise.png."""
    from medusis_tf.data.preparation import prepare_shards
    from medusis_tf.metrics.judged_model import open_run
    from medusis_tf.reports.panels import write_png

    judged = open_run(run)
    _check_noise(judged, run, has_noise=True)
    plain = None if without is None else open_run(without)
    if plain is not None and without is not None:
        _check_noise(plain, without, has_noise=False)
    shards = prepare_shards(judged.config, jobs=None)
    label_maps = _label_maps(shards, split)
    pictures = _paint(judged, plain, label_maps, noises)
    rows = _measure(pictures, label_maps, shards)
    _write(out, judged.title, rows, noises)
    write_png(out / "noise.png", _panel(judged, pictures, label_maps))
    logger.info("%s\nwrote %s", table(rows), out / "noise.md")


def table(rows: Mapping[str, "NoiseSpread"]) -> str:
    """A Markdown table, a line for each truncation."""
    lines = [
        "| noise | brightness over noises | brightness over slices | distance between noises "
        "| feature distance to real images |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        spreads = (row.brightness_over_noises, row.brightness_over_slices, row.pairwise_distance)
        cells = " | ".join(f"{value:.4f}" for value in spreads)
        lines.append(f"| {name} | {cells} | {row.feature_distance:.1f} |")
    return "\n".join(lines)


def _check_noise(judged: "JudgedModel", run: Path, has_noise: bool) -> None:
    if (judged.config.generator.noise_dim > 0) != has_noise:
        wanted = "noise" if has_noise else "generator.noise_dim=0"
        raise UserError(
            f"{run} was trained with generator.noise_dim={judged.config.generator.noise_dim}. "
            f"Give a run with {wanted}."
        )


def _label_maps(shards: "Shards", split: str) -> np.ndarray:
    if split not in ("validation", "test"):
        raise UserError(f"--split must be validation or test. Received: {split}")
    parts = [shards.read(entry).label_map for entry in shards.subjects(split, "label_map")]
    slices = [part for part in parts if part is not None]
    if not slices:
        raise UserError(f"no subject of the {split} split has a label map. Give another --split.")
    joined = np.concatenate(slices)
    return joined[:: -(-len(joined) // MAX_SLICES)]


def _paint(
    judged: "JudgedModel", plain: "JudgedModel | None", label_maps: np.ndarray, noises: int
) -> Pictures:
    """Title to `[noises, slices, height, width]`."""
    from medusis_tf.metrics.noise_spread import truncation_name

    painted = {}
    for truncation in TRUNCATIONS:
        drawn = [judged.painter.draw_noise(seed, truncation) for seed in range(noises)]
        pictures = np.stack([judged.painter.paint(label_maps, noise) for noise in drawn])
        painted[f"truncation {truncation_name(truncation)}"] = pictures
        logger.info("painted: truncation %s", truncation_name(truncation))
    if plain is not None:
        noise = plain.painter.draw_noise(0)
        painted[WITHOUT] = plain.painter.paint(label_maps, noise)[np.newaxis]
    return painted


def _measure(pictures: Pictures, label_maps: np.ndarray, shards: "Shards") -> Rows:
    from medusis_tf.data.body import fill_holes
    from medusis_tf.metrics.feature_distance import picture_features
    from medusis_tf.metrics.grey_levels import learn_grey_levels
    from medusis_tf.metrics.noise_spread import noise_spread
    from medusis_tf.metrics.outline import picture_body

    dark_tissue = learn_grey_levels(shards).dark_tissue
    features = []
    for entry in shards.subjects("train", "image"):
        image = shards.read(entry).image
        if image is not None:
            features.append(picture_features(image, picture_body(image, dark_tissue)))
    real = np.concatenate(features)
    bodies = fill_holes(label_maps != 0)
    return {name: noise_spread(found, bodies, real) for name, found in pictures.items()}


def _write(out: Path, title: str, rows: Rows, noises: int) -> None:
    content = {
        "model": title,
        "noises": noises,
        "intensities": "in [0, 1], inside the body of the label map, holes filled",
        "feature_distance": "Frechet distance of intensity histograms and Haar band energies "
        "inside the body to those of the real training images; not an FID",
        "rows": {name: asdict(row) for name, row in rows.items()},
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "noise.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        (out / "noise.md").write_text(table(rows) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}. Give another --out.") from None


def _panel(judged: "JudgedModel", pictures: Pictures, label_maps: np.ndarray) -> np.ndarray:
    """Rows of label maps; for the outermost truncations some noises each. No real image."""
    from medusis_tf.reports.panels import PanelRow, panel

    places = _spread(len(label_maps), NUM_PANEL_ROWS)
    chosen = [name for name in pictures if name.endswith((" 0.5", " none")) or name == WITHOUT]
    rows = []
    for place in places:
        images = {
            f"{name.removeprefix('truncation ')}, {number}": found[place]
            for name in chosen
            for number, found in enumerate(pictures[name][:NUM_PANEL_NOISES])
        }
        rows.append(PanelRow(label_maps[place], images))
    return panel(rows, judged.config.data.classes, f"{judged.title}: truncation, noise")


def _spread(length: int, count: int) -> Sequence[int]:
    count = min(length, count)
    return [(2 * row + 1) * length // (2 * count) for row in range(count)]


if __name__ == "__main__":
    run_command(noise_study)
