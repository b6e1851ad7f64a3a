"""Rows of the thesis's tables: training, noise truncation and published values of each.

Published values are from the thesis's slides and from the README of TWWinde/Med-USIS. Values that
cannot be assigned to a row are omitted and listed in the notes of their table.
"""

import math
from dataclasses import dataclass
from typing import Literal

from medusis_tf.methods.med_usis.config import MedUSISConfig
from medusis_tf.studies.thesis.tables import Published

# Weight for rows with the mask loss if the configuration disables it: the default weight. The
# thesis used 0.5, for a loss without a gradient.
MASK_WEIGHT = 10.0
NOISE_DIM = 64
# A wavelet generator's features have four bands each: 16 base channels have the width of 64.
BANDS = 4

_SYNTHRAD, _AUTOPET = "SynthRAD2023 pelvis", "AutoPET"
_TABLES = "thesis's tables"
_NO_GRADIENT = "the published mask loss had no gradient and therefore no effect"


@dataclass(frozen=True)
class Training:
    """Training run that one or more rows share.

    Attributes:
        generator: Name of the generator.
        pairing: `paired_sampling` is the thesis's "paired"; no loss uses the pairs.
        mask: Whether the mask loss is on.
        noise: Whether the generator has noise inputs.
        as_published: Overrides with the published batch size and learning rate, as far as the
            launch scripts specify them.
    """

    generator: Literal["oasis", "wavelet"]
    pairing: Literal["unpaired", "paired_sampling"] = "unpaired"
    mask: bool = False
    noise: bool = True
    as_published: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the run."""
        parts = ["unpaired" if self.pairing == "unpaired" else "paired", self.generator]
        parts += ["mask"] if self.mask else []
        return "_".join(parts if self.noise else [*parts, "no_noise"])

    def changes(self, base: MedUSISConfig) -> list[str]:
        """Overrides that turn a configuration into this row; other settings stay unchanged."""
        noise_dim = (base.generator.noise_dim or NOISE_DIM) if self.noise else 0
        weight = (base.loss_weights.mask or MASK_WEIGHT) if self.mask else 0
        found = [
            f"generator.name={self.generator}",
            f"generator.base_channels={_base_channels(base, self.generator)}",
            f"generator.noise_dim={noise_dim}",
            f"loss_weights.mask={weight}",
            f"data.pairing={self.pairing}",
            "data.paired_fraction=null",
        ]
        if not self.noise:
            found += ["generator.class_noise=false", "loss_weights.diversity=0"]
        return found


@dataclass(frozen=True)
class ThesisRow:
    """Row of a table.

    Attributes:
        name: Name for `--rows`.
        table: Key of `TABLES`.
        title: Text in the table.
        training: Training run.
        truncation: Truncation bound of the noise at synthesis.
        published: Published values.
    """

    name: str
    table: str
    title: str
    training: Training
    truncation: float = math.inf
    published: tuple[Published, ...] = ()

    @property
    def painting(self) -> str:
        """Name of the evaluation, shared by rows with the same training and truncation."""
        if math.isinf(self.truncation):
            return self.training.name
        return f"{self.training.name}_truncation_{self.truncation:g}"


# Title and notes of each table.
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "unpaired": (
        "Unpaired",
        (
            "The published wavelet rows with and without the mask loss also differ in batch size: "
            "2 with, 4 without.",
        ),
    ),
    "paired": (
        "Paired",
        (
            "Paired refers to the sampling of slices, in the thesis and here; no loss compares a "
            "synthetic image with the true image. docs/learning_modes.md describes such losses.",
            "Omitted because the row is unknown: FID 60.70 and 68.35 of paired "
            "SynthRAD2023 rows (README); PSNR 24.89 and 23.27 of the two AutoPET wavelet rows; "
            "LPIPS 0.29 or 0.27 and 0.22 (OASIS), 0.06 and 0.05 (wavelet), over several networks "
            "and scales; a mIoU of about 0.75, from a script that compared the wrong masks.",
        ),
    ),
    "noise": (
        "Noise",
        ("Here both rows are trained without the mask loss and differ only in the noise.",),
    ),
    "truncation": (
        "Truncated noise",
        (
            "One run, synthesized with noise from N(0, 1) conditioned on [-a, a]. Only the bound "
            "that the author chose, 1.5, was published.",
        ),
    ),
}

_SLOW, _FAST = (
    "optimizers.generator.learning_rate=1.0e-4",
    "optimizers.generator.learning_rate=4.0e-4",
)
_TWO, _FOUR = "training.batch_size=2", "training.batch_size=4"
_WAVELET = Training("wavelet", as_published=(_FOUR, _SLOW))


def _base_channels(base: MedUSISConfig, generator: str) -> int:
    channels = base.generator.base_channels
    if base.generator.name == generator:
        return channels
    return channels * BANDS if generator == "oasis" else max(1, channels // BANDS)


def _unpaired() -> list[ThesisRow]:
    oasis = Training("oasis", as_published=(_TWO, _SLOW))
    oasis_mask = Training("oasis", mask=True, as_published=(_TWO, _SLOW))
    wavelet_mask = Training("wavelet", mask=True, as_published=(_TWO, _SLOW))
    readme = Published(
        _AUTOPET,
        {"fid": 10.76, "ssim": 0.9283, "psnr": 13.82, "rmse": 0.21},
        "README, unpaired",
        "compared with the wrong slices, because label maps were shuffled; the SSIM is possible "
        "only for images of twice the range",
    )
    mask = Published(
        _SYNTHRAD,
        {"fid": 54.53, "ssim": 0.9984, "psnr": 18.77},
        f"{_TABLES}; SSIM and PSNR from the noise table, which has this row's values",
        _NO_GRADIENT,
    )
    return [
        _row("unpaired", "OASIS", oasis, _fid(_SYNTHRAD, 60.93)),
        _row("unpaired", "OASIS, mask loss", oasis_mask, _fid(_SYNTHRAD, 59.97, _NO_GRADIENT)),
        _row("unpaired", "wavelet", _WAVELET, _fid(_SYNTHRAD, 51.92), readme),
        _row("unpaired", "wavelet, mask loss", wavelet_mask, mask),
    ]


def _paired() -> list[ThesisRow]:
    oasis, oasis_mask, wavelet, wavelet_mask = (
        Training(generator, "paired_sampling", mask, as_published=(_FAST,))
        for generator in ("oasis", "wavelet")
        for mask in (False, True)
    )
    plain = Published(
        _AUTOPET,
        {"fid": 15.83, "psnr": 15.39, "rmse": 0.923},
        _TABLES,
        "PSNR and RMSE contradict each other: the RMSE is of images with ImageNet normalization",
    )
    mask = Published(
        _AUTOPET,
        {"fid": 5.67, "ssim": 0.9713, "psnr": 7.04, "rmse": 0.45},
        _TABLES,
        "SSIM, PSNR and RMSE are of images scaled twice, with errors four times too large (a later "
        f"README has PSNR 19.83); {_NO_GRADIENT}",
    )
    wavelets = [
        Published(_AUTOPET, {"fid": fid, "rmse": 0.06}, _TABLES, caveat)
        for fid, caveat in ((7.29, ""), (10.68, _NO_GRADIENT))
    ]
    return [
        _row("paired", "OASIS", oasis, plain),
        _row("paired", "OASIS, mask loss", oasis_mask, mask),
        _row("paired", "wavelet", wavelet, wavelets[0]),
        _row("paired", "wavelet, mask loss", wavelet_mask, wavelets[1]),
    ]


def _noise() -> list[ThesisRow]:
    with_noise = Published(
        _SYNTHRAD,
        {"fid": 51.92, "ssim": 0.9984, "psnr": 18.77},
        f"{_TABLES}, noise",
        "values of two models: the FID of wavelet without mask loss, SSIM and PSNR of wavelet with "
        "mask loss",
    )
    no_noise = Training("wavelet", noise=False, as_published=(_FOUR, _SLOW))
    caveat = "trained with the mask loss on, which had no gradient"
    return [
        ThesisRow("noise_on", "noise", "wavelet, noise", _WAVELET, published=(with_noise,)),
        ThesisRow(
            "noise_off", "noise", "wavelet, no noise", no_noise,
            published=(_fid(_SYNTHRAD, 60.35, caveat, f"{_TABLES}, noise"),),
        ),
    ]  # fmt: skip


def _truncation() -> list[ThesisRow]:
    rows = [ThesisRow("truncation_none", "truncation", "wavelet, not truncated", _WAVELET)]
    return rows + [
        ThesisRow(f"truncation_{a:g}", "truncation", f"wavelet, a = {a:g}", _WAVELET, a)
        for a in (2.0, 1.5, 1.0, 0.5)
    ]


def _row(table: str, title: str, training: Training, *published: Published) -> ThesisRow:
    return ThesisRow(training.name, table, title, training, published=published)


def _fid(data_set: str, fid: float, caveat: str = "", source: str = _TABLES) -> Published:
    return Published(data_set, {"fid": fid}, source, caveat)


ROWS: tuple[ThesisRow, ...] = (*_unpaired(), *_paired(), *_noise(), *_truncation())
