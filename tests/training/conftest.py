"""What tests that train share."""

import pytest

from tests.methods.stub_method import registered_stub
from tests.training.phantom_data import phantom_data


@pytest.fixture(scope="module")
def stub():
    """The method `stub`, registered."""
    with registered_stub():
        yield


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Settings of experiments that share a folder for their runs."""
    runs_dir = str(tmp_path_factory.mktemp("runs"))
    return {"runs_dir": runs_dir, "data": phantom_data(tmp_path_factory)}
