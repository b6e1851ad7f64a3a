"""The arrays come from the packages that `requirements.txt` names."""

import pytest

from tests.reference.reference_arrays import FOLDER, reference_arrays


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.npz")))
def test_versions_are_those_that_make_reference_installs(name):
    required = (FOLDER / "requirements.txt").read_text().splitlines()
    python, *packages = reference_arrays(name)["versions"]
    assert python.startswith("python==3.11.")
    assert set(packages) <= set(required)
    assert {"tensorflow-addons==0.23.0", "tensorflow-gan==2.1.0"} <= set(packages)
