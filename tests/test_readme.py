"""What the README shows is what the project takes."""

import re
from pathlib import Path

import yaml

from medusis_tf.methods.experiment import validate

README = Path(__file__).parents[1] / "README.md"


def test_the_configuration_of_the_readme_is_valid():
    (example,) = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert validate(yaml.safe_load(example), README).name == "my_experiment"


def test_every_file_and_module_that_the_readme_names_is_there():
    text = README.read_text()
    for path in re.findall(r"\]\((docs/[^)]+)\)", text) + re.findall(
        r"`(configs/\S+\.yaml)`", text
    ):
        assert (README.parent / path).exists(), path
    for module in set(re.findall(r"python -m ((?:medusis_tf|pipelines)\.\w+)", text)):
        assert (README.parent / (module.replace(".", "/") + ".py")).exists(), module
