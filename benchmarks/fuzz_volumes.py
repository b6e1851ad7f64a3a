"""What is fuzzed: volumes, and the requests that carry them."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_files import put
from benchmarks.fuzz_mutations import mutate_bytes


def _check_volume(path: Path) -> None:
    """Read with all three readers; the first refusal is raised at the end."""
    from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume

    first = None
    for read in (read_volume, read_label_map, read_grid):
        try:
            read(path)
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


def _labels() -> np.ndarray:
    return np.arange(120).reshape(4, 5, 6).astype(np.int16) % 5


def nifti(folder: Path) -> Callable[[Path, random.Random], None]:
    """NIfTI-1 and NIfTI-2, also compressed."""
    import nibabel as nib

    contents = []
    for number, kind in enumerate((nib.Nifti1Image, nib.Nifti2Image)):
        path = folder / f"seed{number}.nii"
        nib.save(kind(_labels(), np.diag([-2.0, -2.0, 3.0, 1.0])), path)
        contents.append(path.read_bytes())

    def case(folder: Path, rng: random.Random) -> None:
        content = mutate_bytes(rng.choice(contents), rng)
        name = "a.nii"
        if rng.random() < 0.4:
            name, content = "a.nii.gz", gzip.compress(content, 1, mtime=0)
            if rng.random() < 0.3:
                content = mutate_bytes(content, rng)
        _check_volume(put(folder / name, content))

    return case


def itk(suffix: str) -> Callable[[Path], Callable[[Path, random.Random], None]]:
    """A format that ITK reads, plain and compressed."""

    def make(folder: Path) -> Callable[[Path, random.Random], None]:
        import SimpleITK as sitk  # noqa: N813

        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        contents = []
        for compressed in (False, True):
            path = folder / f"seed{suffix}"
            sitk.WriteImage(sitk.GetImageFromArray(_labels()), str(path), compressed)
            contents.append(path.read_bytes())

        def case(folder: Path, rng: random.Random) -> None:
            _check_volume(put(folder / f"a{suffix}", mutate_bytes(rng.choice(contents), rng)))

        return case

    return make


def dicom(folder: Path) -> Callable[[Path, random.Random], None]:
    """A series of three files, of which one is damaged."""
    from medusis_tf.data.volumes.dicom_writing import write_series
    from medusis_tf.data.volumes.grid import Grid
    from medusis_tf.data.volumes.writing import StoredIntensities

    stored = StoredIntensities(_labels().astype(np.uint16))
    write_series(folder / "series", stored, Grid.of(_volume(folder)), {}, (0, 2))
    files = [(path.name, path.read_bytes()) for path in sorted((folder / "series").iterdir())][:3]

    def case(folder: Path, rng: random.Random) -> None:
        broken = rng.randrange(len(files))
        for place, (name, content) in enumerate(files):
            put(folder / name, mutate_bytes(content, rng, 2000) if place == broken else content)
        _check_volume(folder)

    return case


def _volume(folder: Path) -> Any:
    import nibabel as nib

    from medusis_tf.data.volumes.reading import read_label_map

    nib.save(nib.Nifti1Image(_labels(), np.diag([-2.0, -2.0, 3.0, 1.0])), folder / "grid.nii")
    return read_label_map(folder / "grid.nii")


def requests(folder: Path) -> Callable[[Path, random.Random], None]:
    """Bodies and uploads of the server, at the functions that read them."""
    import nibabel as nib

    from medusis_tf.data.volumes.reading import read_label_map
    from medusis_tf.server.settings import ServerLimits
    from medusis_tf.server.tensors import read_json
    from medusis_tf.server.uploads import Upload, store

    nib.save(nib.Nifti1Image(_labels(), np.diag([-2.0, -2.0, 3.0, 1.0])), folder / "a.nii.gz")
    nifti = (folder / "a.nii.gz").read_bytes()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../x.dcm", nifti)
        archive.writestr("a/b.dcm", b"\0" * 128 + b"DICM")
    body = json.dumps({"instances": [{"label_map": [[0, 1], [1, 2]], "noise": [0.5]}]})
    uploads = [(nifti, "a.nii.gz"), (nifti, None), (stream.getvalue(), "a.zip")]
    names = [None, "a.nii", "a.mha", "a.nrrd", "a.zip", "a.mgz", "../../a.nii", "a\0.nii"]

    def case(folder: Path, rng: random.Random) -> None:
        if rng.random() < 0.5:
            read_json(mutate_bytes(body.encode(), rng, len(body)))
            return
        content, name = rng.choice(uploads)
        if rng.random() < 0.2:
            name = rng.choice(names)
        stored = store(Upload(mutate_bytes(content, rng), name), folder, ServerLimits())
        read_label_map(stored)

    return case
