"""Evaluate a model, references and baselines on subjects with label maps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "evaluated_model": ["EvaluatedModel", "open_exported", "open_images", "open_run"],
        "evaluation": ["Evaluation", "evaluate_model"],
        "options": ["EvaluationOptions"],
        "painters": ["Painter"],
    },
)
