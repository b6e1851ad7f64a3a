"""The packages of the wheel; everything else is in `pyproject.toml`.

The top-level folder `configs/` becomes `medusis_tf/configs` in the wheel, so that commands find the
example configurations and class tables after `pip install`.
"""

from setuptools import find_namespace_packages, setup

CONFIGS = {
    "medusis_tf.configs": "configs",
    "medusis_tf.configs.refinements": "configs/refinements",
    "medusis_tf.configs.taxonomies": "configs/taxonomies",
}

setup(
    packages=[*find_namespace_packages(include=["medusis_tf", "medusis_tf.*"]), *CONFIGS],
    package_dir=CONFIGS,
)
