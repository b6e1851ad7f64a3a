"""Unsupervised semantic image synthesis: realistic MR slices for CT label maps.

The Python interface, for notebooks and scripts:

    import medusis_tf as mt

    config = mt.load_config("quickstart.yaml", ["training.steps=100"])
    data = mt.open_data(config)                       # prepares the slices if necessary
    training = mt.TrainingLoop(config, data)
    training.run()
    model = mt.open_run(config.run_dir)               # or mt.open_model("saved_models/quickstart")
    image = mt.synthesize(model, "label_map.nii.gz", seed=1)
    mt.metrics.ssim(image_slice, true_slice)

Everything is imported when it is first used, so that `import medusis_tf` takes no time.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("medusis_tf")

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["layers", "losses", "metrics", "models", "ops"],
    submod_attrs={
        "errors": ["UserError"],
        "interface": ["export_run", "open_data", "open_model", "open_run", "synthesize"],
        "methods.experiment": ["load_config", "save_config"],
        "training.loop": ["TrainingLoop"],
        "data.phantom": ["write_phantom_dataset"],
    },
)
__all__ += ["__version__"]
