"""The main results of an evaluation in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medusis_tf.evaluation.unseen_patients import described
from medusis_tf.metrics.tables import Content

# 1 % of the slices are near copies by chance.
FEW = 0.05


@dataclass(frozen=True)
class Verdict:
    """A result in a sentence or two.

    Attributes:
        title: What the result is about.
        text: The result.
        is_good: Whether it is good; None if it is neither good nor bad.
    """

    title: str
    text: str
    is_good: bool | None


def verdicts(content: Content) -> list[Verdict]:
    """Whether patients were seen, the model beats the baselines and repeats training images.

    Args:
        content: Content of `metrics.json`.
    """
    return [*_seen(content), *_against_baselines(content), *_memorization(content)]


def _seen(content: Content) -> list[Verdict]:
    seen = content.get("data", {}).get("seen_in_training")
    if not seen:
        return []
    text = (
        f"the model has seen patients that it is evaluated on: {described(seen)} of its own data. "
        "Its values on them are too good."
    )
    return [Verdict("Patients seen in training", text, False)]


def _against_baselines(content: Content) -> list[Verdict]:
    model, *others = content["methods"]
    baselines = [each for each in others if each["kind"] == "baseline"]
    found = []
    for title, path, is_larger_better in (
        ("SSIM inside the body", ("similarity", "body", "ssim", "mean"), True),
        ("Frechet radiomics distance", ("distribution", "radiomics", "frechet_distance"), False),
    ):
        values = {each["name"]: _at(each, path) for each in (model, *baselines)}
        ours = values.pop(model["name"])
        known = {name: value for name, value in values.items() if value is not None}
        if ours is None or not known:
            continue
        best = (max if is_larger_better else min)(known, key=lambda name: known[name])
        beats = ours > known[best] if is_larger_better else ours < known[best]
        text = f"{title}: {ours:.3f}; best baseline: {known[best]:.3f}, {best}. " + (
            "The model beats it." if beats else "The model does NOT beat it."
        )
        found.append(Verdict("Against the baselines", text, beats))
    return found


def _memorization(content: Content) -> list[Verdict]:
    audit = content.get("memorization")
    if audit is None:
        return []
    if "problem" in audit:
        return [Verdict("Memorisation", f"Not audited: {audit['problem']}.", None)]
    distances = (
        f"median distance to the nearest training slice: {audit['synthetic_median_distance']:.3f}, "
        f"of held-out real slices {audit['held_out_median_distance']:.3f}; "
        f"{100 * audit['near_copies']:.0f} % are nearer than all but 1 % of the held-out slices"
    )
    limits = (
        "The audit compares small versions (32x32) of whole slices. It finds repeated slices, not "
        "repeated details, and it does not prove that nothing can be learned about a patient."
    )
    if audit["flagged"]:
        text = (
            "Synthetic slices are nearer to training slices than other patients' real slices are "
            f"({distances}). Check the nearest pairs, and do not share these images until you "
            f"know the reason. {limits}"
        )
        return [Verdict("Memorisation", text, False)]
    if audit["near_copies"] > FEW:
        text = (
            "Overall, synthetic slices are no nearer to training slices than other patients' real "
            f"slices are, but some can be ({distances}). Check the nearest pairs. {limits}"
        )
        return [Verdict("Memorisation", text, None)]
    text = f"No sign of repeated training slices ({distances}). {limits}"
    return [Verdict("Memorisation", text, True)]


def _at(values: Any, path: tuple[str, ...]) -> float | None:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    return values
