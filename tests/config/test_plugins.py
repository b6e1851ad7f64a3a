"""What another installed package adds by entry points."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SECTIONS = '''
from typing import Literal

from medusis_tf.models.discriminator_sections import PatchDiscriminatorConfig
from medusis_tf.models.sections import UNetSegmenterConfig, WaveletGeneratorConfig


class MyGenerator(WaveletGeneratorConfig):
    """A generator."""

    name: Literal["mine"]
    depth: int = 3


class MyDiscriminator(PatchDiscriminatorConfig):
    """A discriminator."""

    name: Literal["mine"]


class MySegmenter(UNetSegmenterConfig):
    """A segmenter."""

    name: Literal["mine"]
'''
METHOD = '''
from typing import Literal

from medusis_tf.methods.med_usis.config import MedUSISConfig


class MyMethod(MedUSISConfig):
    """A method."""

    method: Literal["my_method"] = "my_method"
'''
ENTRY_POINTS = """
[medusis_tf.generators]
mine = my_package:MyGenerator
[medusis_tf.discriminators]
mine = my_package:MyDiscriminator
[medusis_tf.segmenters]
mine = my_package:MySegmenter
[medusis_tf.methods]
my_method = my_method:MyMethod
"""
PROGRAM = """
from pathlib import Path
from medusis_tf.methods.experiment import validate
from tests.training.tiny_experiment import tiny_experiment
values = tiny_experiment().model_dump(mode="json")
values["method"] = "my_method"
values["generator"] |= {"name": "mine", "depth": 5}
values["discriminator"] = {"name": "mine", "base_channels": 4}
values["segmenter"] |= {"name": "mine"}
config = validate(values, Path("mine.yaml"))
print(type(config).__name__, type(config.generator).__name__, config.generator.depth)
print(type(config.discriminator).__name__, type(config.segmenter).__name__)
"""


DOCUMENTED = """
[medusis_tf.generators]
my_generator = my_package.sections:MyGeneratorConfig
"""
BUILD = """
import numpy as np
import keras
from medusis_tf.models.choices import GENERATORS
generator = GENERATORS[-1](name="my_generator").build(3, 1, synchronized=False)
one_hot, noise = np.zeros((2, 32, 64, 3), "float32"), np.ones((2, 64), "float32")
image = np.asarray(generator(one_hot, noise))
generator.save("generator.keras")
again = np.asarray(keras.models.load_model("generator.keras")(one_hot, noise))
print(type(generator).__name__, image.shape, np.array_equal(image, again))
"""


def install(folder: Path, entry_points: str) -> dict[str, str]:
    """Make a package that is as if installed, and the environment that has it."""
    if not (folder / "my_package").is_dir():
        (folder / "my_package.py").write_text(SECTIONS)
    (folder / "my_method.py").write_text(METHOD)
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(CHECKOUT)])}


def run(
    program: str, environment: dict[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=folder
    )


def test_networks_and_methods_of_another_package_can_be_configured(tmp_path):
    result = run(PROGRAM, install(tmp_path, ENTRY_POINTS))
    assert result.stdout.split() == [
        "MyMethod",
        "MyGenerator",
        "5",
        "MyDiscriminator",
        "MySegmenter",
    ], result.stderr


@pytest.mark.parametrize("target", ["my_package:Missing", "not_there:MyGenerator"])
def test_a_package_that_cannot_be_loaded_is_named(tmp_path, target):
    environment = install(tmp_path, f"[medusis_tf.generators]\nmine = {target}\n")
    for module in ("medusis_tf.train", "medusis_tf train"):
        command = [sys.executable, "-m", *module.split(), "--config", "quickstart", "--dry-run"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert result.returncode == 2
        assert result.stderr.startswith("error: mine of my_package cannot be loaded")
        assert target in result.stderr and "uninstall that package" in result.stderr


def test_the_generator_of_the_documentation_works(tmp_path):
    page = (CHECKOUT / "docs" / "extending.md").read_text()
    package = tmp_path / "my_package"
    package.mkdir()
    for path, code in re.findall(r"```python\n# my_package/(\w+\.py)\n(.*?)```", page, re.DOTALL):
        (package / path).write_text(code)
    environment = install(tmp_path, DOCUMENTED)
    result = run(BUILD, environment, tmp_path)
    assert result.stdout.split() == ["MyGenerator", "(2,", "32,", "64,", "1)", "True"], (
        result.stderr
    )
