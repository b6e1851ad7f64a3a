"""The README is short, and its configuration works."""

import re
from pathlib import Path

import yaml

from medusis_tf.methods.experiment import validate

README = Path(__file__).parents[1] / "README.md"


def test_it_has_at_most_120_lines():
    assert len(README.read_text().splitlines()) <= 120


def test_its_configuration_is_valid_and_all_networks_are_small():
    (example,) = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    config = validate(yaml.safe_load(example), README)
    assert config.name == "my_experiment"
    networks = (config.generator, config.discriminator, config.segmenter)
    defaults = [type(network).model_fields["base_channels"].default for network in networks]
    for network, default in zip(networks, defaults, strict=True):
        assert network.base_channels <= default / 4


def test_the_demo_and_the_tests_are_one_command_each():
    assert "make demo" in README.read_text() and "make test" in README.read_text()
