"""Where tiny diffusion experiments keep their data and runs."""

import pytest

from tests.training.phantom_data import phantom_data
from tests.training.tiny_experiment import CLASSES


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion")
    data = {**phantom_data(tmp_path_factory), "classes": CLASSES, "image_size": [32, 32]}
    return {"runs_dir": str(folder / "runs"), "data": data}
