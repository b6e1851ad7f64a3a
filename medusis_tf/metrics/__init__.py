"""Metrics of synthetic images, as functions on NumPy arrays; imported when they are first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "consistency": ["volume_consistency"],
        "diversity": ["noise_spread"],
        "frechet": ["frechet_distance"],
        "grey_levels": ["GreyLevels", "grey_levels_of"],
        "kernel": ["kernel_distance"],
        "lpips_network": ["LPIPS", "open_lpips"],
        "manifold": ["manifold_agreement"],
        "measure": ["PatientValues", "summarize"],
        "memorization": ["find_neighbours", "thumbnails"],
        "metric": ["Measure", "Metric", "MetricContext"],
        "outline": ["outline_agreement", "visible_body"],
        "overlap": ["ConfusionMatrix", "dice", "hd95", "iou"],
        "radiomics": ["radiomic_features"],
        "similarity": ["mae", "psnr", "rmse", "ssim", "to_unit_range"],
        "structural_similarity": ["ms_ssim"],
        "tables": ["Column", "MetricTable", "summary_table"],
        "volume_similarity": ["volume_ssim"],
        "wasserstein": ["sliced_wasserstein"],
    },
)
