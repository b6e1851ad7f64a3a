"""Made results of an evaluation, as in `metrics.json`: a model and a baseline."""

import math

from medusis_tf.config.data import ClassEntry

CLASSES = [
    ClassEntry(id=0, name="background", colour=(0, 0, 0)),
    ClassEntry(id=1, name="fat", colour=(240, 200, 90)),
    ClassEntry(id=2, name="nowhere", colour=(1, 2, 3)),
]


def summary(mean):
    """Of one patient with one slice."""
    return {
        "mean": mean, "standard_deviation": math.nan, "slice_standard_deviation": math.nan,
        "low": math.nan, "high": math.nan, "patients": 1, "slices": 1,
    }  # fmt: skip


def method(name, kind, ssim):
    """Results of a painter; only SSIM differs."""
    values = {"ssim": ssim, "psnr": 10.0, "rmse": 0.1, "mae": 0.05}
    similarity = {key: summary(value) for key, value in values.items()}
    outline = {"dice": 0.9, "pooled_dice": 0.9, "painted_as_air": 0.0, "invisible": 0.1}
    return {
        "name": name,
        "kind": kind,
        "similarity": {
            "slice": dict(similarity),
            "body": dict(similarity),
            "classes": {"background": {"ssim": summary(0.9)}},
        },
        "outline": {key: summary(value) for key, value in outline.items()},
        "distribution": {
            "radiomics": {
                "frechet_name": "Frechet radiomics distance",
                "identity": {"features_sha256": "abcdef"},
                "dimension": 35,
                "synthetic_slices": 3,
                "real_slices": 4,
                "frechet_distance": 12.3456,
                "full_rank": False,
                "kernel_distance": {"mean": 0.1234, "standard_deviation": 0.01},
            }
        },
    }


def content():
    """A new one each time."""
    model, means = method("model", "model", 0.5), method("means", "baseline", 0.6)
    fat = {"dice": 0.6, "iou": 0.5, "volume_dice": summary(0.6), "hd95_mm": summary(3.0)}
    model["segmentation"] = {
        "own segmenter": {"mean_dice": 0.6, "mean_iou": 0.5, "classes": {"fat": fat}}
    }
    audit = {
        "features": "thumbnails", "similarity": "SSIM", "near_copies": 0.0, "flagged": False,
        "tested": {"synthetic": 3, "held_out": 3},
        "distance_p_value": 0.5, "ratio_p_value": math.nan, "similarity_p_value": 0.5,
    }  # fmt: skip
    for side in ("synthetic", "held_out"):
        audit |= {f"{side}_slices": 3}
        audit |= {f"{side}_median_{name}": 0.5 for name in ("distance", "ratio", "similarity")}
    spread = {"brightness_over_noises": 0.1, "brightness_over_slices": 0.2}
    return {
        "model": {"name": "model", "step": 1, "source": "runs/model"},
        "seeds": [0],
        "protocol": {
            "data_range": 1.0, "intensities": "scaled", "mean": "of patients", "interval": "95 %",
            "grey_levels": {"air": -0.9, "dark_tissue": -0.6},
        },
        "data": {"paired_slices": 3, "paired_patients": 1, "pairing": "unpaired"},
        "methods": [model, means],
        "diversity": {"noises": 4, "slices": 3, "pairwise_distance": 0.1, **spread},
        "memorization": audit,
    }  # fmt: skip
