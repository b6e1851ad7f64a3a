"""What an evaluation says, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]

# 1 % of slices are near copies by chance; more than this is worth a look.
FEW = 0.05


@dataclass(frozen=True)
class Verdict:
    """A sentence or two; `is_good` None where there is nothing to worry about nor to praise."""

    title: str
    text: str
    is_good: bool | None


def verdicts(content: Figures) -> list[Verdict]:
    """Whether the model beats what needs no learning, and whether it repeats training images."""
    return [*_against_baselines(content), *_memorization(content)]


def _against_baselines(content: Figures) -> list[Verdict]:
    model, *others = content["methods"]
    baselines = [each for each in others if each["kind"] == "baseline"]
    found = []
    for title, path, larger in (
        ("SSIM inside the body", ("similarity", "body", "ssim", "mean"), True),
        ("Frechet radiomics distance", ("distribution", "radiomics", "frechet_distance"), False),
    ):
        values = {each["name"]: _at(each, path) for each in (model, *baselines)}
        ours = values.pop(model["name"])
        known = {name: value for name, value in values.items() if value is not None}
        if ours is None or not known:
            continue
        best = (max if larger else min)(known, key=lambda name: known[name])
        beats = ours > known[best] if larger else ours < known[best]
        text = f"{title}: {ours:.3f}, against {known[best]:.3f} of the best baseline, {best}. " + (
            "The model beats it." if beats else "The model does NOT beat it."
        )
        found.append(Verdict("Against the baselines", text, beats))
    return found


def _memorization(content: Figures) -> list[Verdict]:
    audit = content.get("memorization")
    if audit is None:
        return []
    if "problem" in audit:
        return [Verdict("Memorisation", f"Not audited: {audit['problem']}.", None)]
    distances = (
        f"distance to the nearest training slice {audit['synthetic_median_distance']:.3f}, of "
        f"held-out real slices {audit['held_out_median_distance']:.3f}; "
        f"{100 * audit['near_copies']:.0f} % are nearer than all but 1 % of held-out slices"
    )
    limits = (
        "This compares small pictures (32x32) of whole slices: it finds repeated slices, not a "
        "repeated detail, and it does not prove that nothing can be learned about a patient."
    )
    if audit["flagged"]:
        text = (
            f"Synthetic slices are nearer to training slices than other patients' real slices are "
            f"({distances}). Look at the nearest pairs, and do not share these images before you "
            f"know why. {limits}"
        )
        return [Verdict("Memorisation", text, False)]
    if audit["near_copies"] > FEW:
        text = (
            f"On the whole synthetic slices are no nearer to training slices than other patients' "
            f"real slices are, but some may be ({distances}). Look at the nearest pairs. {limits}"
        )
        return [Verdict("Memorisation", text, None)]
    text = f"No sign that training slices are repeated ({distances}). {limits}"
    return [Verdict("Memorisation", text, True)]


def _at(figures: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        if not isinstance(figures, Mapping) or key not in figures:
            return None
        figures = figures[key]
    return figures
