"""The cases of the benchmark of methods are configurations of their kind."""

from pathlib import Path

import pytest

from benchmarks.methods import LEGS, experiment
from medusis_tf.methods.experiment import validate


@pytest.mark.parametrize("size", ["legs", "thesis"])
@pytest.mark.parametrize("case", list(LEGS))
def test_every_case_is_a_configuration(case, size, tmp_path):
    config = validate(experiment(case, size, tmp_path), Path("benchmark"))
    assert (config.method == "diffusion") == case.startswith("diffusion")
    volumes = config.volumes.networks if config.volumes else None
    assert volumes == (case if case in ("2.5d", "3d") else None)
    sides = {"legs": [96, 96] if case == "3d" else [128, 128], "thesis": [256, 256]}
    assert list(config.data.image_size) == sides[size]
