"""A server of the small model, called without a network."""

from contextlib import contextmanager

import nibabel as nib
from fastapi.testclient import TestClient

from medusis_tf.server.application import create_application
from medusis_tf.server.served_models import ServedModels
from medusis_tf.server.settings import ServerLimits
from tests.serving.small_run import ellipses, make_model, write_nifti


@contextmanager
def client(factory, limits=ServerLimits(), token=None, host="localhost"):  # noqa: B008
    """A client of a new server."""
    application = create_application(ServedModels([make_model(factory)]), limits, token)
    with TestClient(application, base_url=f"http://{host}") as opened:
        yield opened


def label_map_file(folder, axes="LPS", array=None):
    """A label map that the small model can paint."""
    path = folder / "labels.nii.gz"
    write_nifti(path, ellipses() if array is None else array, axes)
    return path


def opened(content, folder):
    """A NIfTI file of an answer."""
    path = folder / "answer.nii.gz"
    path.write_bytes(content)
    return nib.load(path)
