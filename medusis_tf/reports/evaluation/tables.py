"""The tables of an evaluation, as lines of text: for the console, and for the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from medusis_tf.reports.evaluation.table import (
    EvaluationTable,
    Figures,
    counted,
    number,
    significant,
    summary_cell,
)


def evaluation_tables(content: Figures) -> list[EvaluationTable]:
    """All tables of what `metrics.json` holds; those of absent figures are left out."""
    makers = (
        _similarity, _perceptual, _shapes, _segmentation, _distributions, _volumes, _diversity,
        _memorization, _thesis,
    )  # fmt: skip
    tables = [table for maker in makers for table in maker(content)]
    return [table for table in tables if table.rows]


def _similarity(content: Figures) -> Iterable[EvaluationTable]:
    columns = [("ssim", "SSIM", 3), ("ms_ssim", "MS-SSIM", 3), ("psnr", "PSNR dB", 2),
               ("rmse", "RMSE", 3), ("mae", "MAE", 3)]  # fmt: skip
    data, protocol = content["data"], content["protocol"]
    notes = [
        f"{counted(data['paired_slices'], 'slice')} of "
        f"{counted(data['paired_patients'], 'patient')} with a true image; pairing in training: "
        f"{data['pairing']}; noise seeds {', '.join(map(str, content['seeds']))}",
        f"mean {protocol['mean']}; ± standard deviation of these, of slices where there is one "
        f"patient; [{protocol['interval']}]",
        f"data range {protocol['data_range']:g}: intensities {protocol['intensities']}",
    ]
    methods = [each for each in content["methods"] if "similarity" in each]
    for part, title in (("slice", "whole slice"), ("body", "inside the body")):
        # Slices may be too small for MS-SSIM, and it is of whole slices only.
        shown = [each for each in columns if _anybody_has(methods, part, each[0])]
        rows = [
            (each["name"], [summary_cell(each["similarity"][part].get(key), digits)
                            for key, _, digits in shown])
            for each in methods
        ]  # fmt: skip
        yield EvaluationTable(
            f"Similarity to the true image, {title}", [title for _, title, _ in shown], rows, notes
        )


def _anybody_has(methods: Sequence[Figures], part: str, figure: str) -> bool:
    return any(each["similarity"][part].get(figure, {}).get("slices") for each in methods)


def _perceptual(content: Figures) -> Iterable[EvaluationTable]:
    methods = [each for each in content["methods"] if "perceptual" in each]
    for name in methods[0]["perceptual"] if methods else ():
        rows = [
            (each["name"], [summary_cell(each["perceptual"][name][key])
                            for key in ("lpips", "lpips_thesis_protocol")])
            for each in methods
        ]  # fmt: skip
        note = "weights: " + ", ".join(
            f"{key} {value[:12]}"
            for key, value in methods[0]["perceptual"][name]["identity"].items()
        )
        yield EvaluationTable(
            f"LPIPS over {name}", ["LPIPS", "LPIPS fed [0, 1] (thesis protocol)"], rows, [note]
        )


def _shapes(content: Figures) -> Iterable[EvaluationTable]:
    levels = content["protocol"]["grey_levels"]
    columns = ("dice", "pooled_dice", "painted_as_air", "invisible")
    rows = [
        (each["name"], [summary_cell(each["outline"][key]) for key in columns])
        for each in content["methods"] if "outline" in each
    ]  # fmt: skip
    notes = [
        "outline: body by three-level Otsu on each picture, holes filled, against the label map's; "
        "pooled over pixels",
        f"as air: share of the body below {levels['air']:.2f}; invisible: from there to "
        f"{levels['dark_tissue']:.2f}, darker than the darkest soft tissue of the real images",
    ]
    titles = ["outline Dice", "pooled Dice", "painted as air", "invisible grey"]
    yield EvaluationTable("Outline of the body", titles, rows, notes)


def _segmentation(content: Figures) -> Iterable[EvaluationTable]:
    methods = [each for each in content["methods"] if "segmentation" in each]
    for name in methods[0]["segmentation"] if methods else ():
        rows = []
        for each in (each for each in methods if name in each["segmentation"]):
            found = each["segmentation"][name]
            distances = [
                row["hd95_mm"]["mean"] for row in found["classes"].values() if row["hd95_mm"]
            ]
            mean = sum(distances) / len(distances) if distances else None
            cells = [number(found["mean_dice"]), number(found["mean_iou"]), number(mean, 1)]
            rows.append((each["name"], cells))
        notes = ["over all pixels of the data set, mean of the classes that occur; HD95 of slices"]
        yield EvaluationTable(
            f"Classes found by: {name}", ["mean Dice", "mean IoU", "mean HD95 mm"], rows, notes
        )


def _distributions(content: Figures) -> Iterable[EvaluationTable]:
    methods = [each for each in content["methods"] if "distribution" in each]
    names = dict.fromkeys(name for each in methods for name in each["distribution"])
    for name in names:
        having = [each for each in methods if name in each["distribution"]]
        found = [(each["name"], each["distribution"][name]) for each in having]
        yield _pyramid(found) if name == "sliced_wasserstein" else _features(name, found)


def _pyramid(found: Sequence[tuple[str, Figures]]) -> EvaluationTable:
    levels = range(len(found[0][1]["levels"]))
    rows = [
        (name, [number(value, 1) for value in (*each["levels"], each["mean"])])
        for name, each in found
    ]
    notes = ["times 1000, level 1 the finest; 0 for equal sets"]
    columns = [f"level {level + 1}" for level in levels] + ["mean"]
    return EvaluationTable("Sliced Wasserstein distance of patches", columns, rows, notes)


def _features(name: str, found: Sequence[tuple[str, Figures]]) -> EvaluationTable:
    first = found[0][1]
    rows = []
    for method, each in found:
        kernel, manifold = each.get("kernel_distance"), each.get("manifold", {})
        cells = [significant(each.get("frechet_distance"), 4), _kernel_cell(kernel)]
        parts = ("precision", "recall", "density", "coverage")
        cells += [number(manifold.get(part)) for part in parts]
        cells.append(str(each["synthetic_slices"]))
        rows.append((method, cells))
    notes = [
        f"{first['frechet_name']}: against {first['real_slices']} real slices of the split; "
        + ", ".join(f"{key} {str(value)[:16]}" for key, value in first["identity"].items()),
        "kernel distance: KID's formula on these features, ± standard deviation over subsets, "
        "which is not that over other patients",
    ]
    if not first.get("full_rank", True):
        notes.append(
            f"fewer slices than the {first['dimension']} features: the covariances have no full "
            "rank and the distance is too large; compare it with distances of as many slices only"
        )
    columns = [first["frechet_name"], "kernel distance ± s. d.", "precision", "recall", "density",
               "coverage", "slices"]  # fmt: skip
    return EvaluationTable(f"Distance to the real images: {name} features", columns, rows, notes)


def _kernel_cell(kernel: Figures | None) -> str:
    if kernel is None:
        return "-"
    spread = kernel["standard_deviation"]
    return significant(kernel["mean"]) + ("" if math.isnan(spread) else f" ± {significant(spread)}")


def _volumes(content: Figures) -> Iterable[EvaluationTable]:
    rows = [
        (each["name"], [summary_cell(each["volume_consistency"].get(key), 4)
                        for key in ("brightness_jump", "pixel_jump")])
        for each in content["methods"] if "volume_consistency" in each
    ]  # fmt: skip
    notes = ["between neighbouring slices, inside the body, intensities in [0, 1]"]
    yield EvaluationTable("Jumps from slice to slice", ["brightness", "pixels"], rows, notes)


def _diversity(content: Figures) -> Iterable[EvaluationTable]:
    found = content.get("diversity")
    if found is None:
        return
    columns = {
        "brightness_over_noises": "brightness, noise to noise",
        "brightness_over_slices": "brightness, slice to slice",
        "pairwise_distance": "distance of two noises",
    }
    cells = [number(found[name], 4) for name in columns]
    notes = [
        f"{found['noises']} noises for each of {counted(found['slices'], 'label map')}; standard "
        "deviations of a slice's mean, and mean absolute difference, inside the body, intensities "
        "in [0, 1]"
    ]
    rows = [(content["model"]["name"], cells)]
    yield EvaluationTable("Diversity", list(columns.values()), rows, notes)


def _memorization(content: Figures) -> Iterable[EvaluationTable]:
    audit = content.get("memorization")
    if audit is None or "problem" in audit:
        return
    columns = ["slices", "distance", "ratio to next subject", audit["similarity"], "near copies"]
    rows = []
    for name in ("synthetic", "held_out"):
        cells = [number(audit[f"{name}_median_{figure}"])
                 for figure in ("distance", "ratio", "similarity")]  # fmt: skip
        copies = f"{100 * audit['near_copies']:.1f} %" if name == "synthetic" else "1 %"
        title = "synthetic slices" if name == "synthetic" else "held-out real slices"
        rows.append((title, [str(audit[f"{name}_slices"]), *cells, copies]))
    by_slice = audit["tested"]["synthetic"] == audit["synthetic_slices"]
    tested = "slices, for there are few patients" if by_slice else "patients' medians"
    notes = [
        f"to the nearest training slice, medians; features: {audit['features']}",
        "ratio: of the distance to that of the next training subject, near 0 for a copy; near "
        "copies: slices of a smaller ratio than all but 1 % of the held-out ones",
        f"one-sided Mann-Whitney U test that synthetic slices are nearer, of {tested}: p = "
        f"{significant(audit['ratio_p_value'])} by ratio, "
        f"{significant(audit['distance_p_value'])} by distance, "
        f"{significant(audit['similarity_p_value'])} by {audit['similarity']}",
    ]
    yield EvaluationTable("Nearest training slices", columns, rows, notes, "slices of")


def _thesis(content: Figures) -> Iterable[EvaluationTable]:
    methods = [each for each in content["methods"] if "thesis_protocol" in each]
    rows = [
        (each["name"], [number(each["thesis_protocol"][key], digits)
                        for key, digits in (("ssim", 4), ("psnr", 2), ("rmse", 3))])
        for each in methods
    ]  # fmt: skip
    notes = [
        "only to compare with the thesis's tables: SSIM with data range 255 on [0, 1] is a "
        "rescaled squared error, PSNR and RMSE are those of batches of 20 slices"
    ]
    columns = ["SSIM (range 255)", "PSNR of batches dB", "RMSE of batches"]
    yield EvaluationTable("Thesis protocol", columns, rows, notes)
