"""The arrays come from the packages that `requirements.txt` names."""

from pathlib import Path

import pytest

from tests.reference.reference_arrays import reference_arrays

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.npz")))
def test_versions_are_those_that_are_required(name):
    lines = (FOLDER / "requirements.txt").read_text().splitlines()
    required = {line for line in lines if "==" in line}
    _, *packages = reference_arrays(f"metrics/{name}")["versions"].tolist()
    # A build of PyTorch for CPUs names itself `+cpu`.
    assert {package.partition("+")[0] for package in packages} == required
