"""Six hundred subjects: linear work, a handful of open files, no shuffle buffer."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.methods.experiment import save_config
from tests.data.small_subjects import small_experiment

ROOT = Path(__file__).parents[3]
COUNT = 600
OPEN_FILES = 64

PREPARE = """
import json, os, re, resource, sys
from pathlib import Path
from medusis_tf.methods.experiment import load_config
from medusis_tf.data.preparing.preparation import prepare_shards

limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
shards = prepare_shards(load_config(Path(sys.argv[1])))
for entry in shards.records.subjects:
    shards.read(entry)
print(json.dumps({
    "files": len(os.listdir("/proc/self/fd")),
    "kilobytes": int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]),
    "folder": str(shards.folder),
}))
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """An experiment on many subjects, half of them with label maps."""
    folder = tmp_path_factory.mktemp("many")
    write_volumes(folder / "root")
    subjects = [
        {"subject": f"s{i:04d}", "split": "train", kind: f"{i:04d}.nii"}
        for i in range(COUNT)
        for kind in [("label_map", "image")[i % 2]]
    ]
    config = small_experiment(folder / "root", folder / "cache", subjects, field_of_view_mm=None)
    save_config(config, folder / "config.yaml")
    return config, folder / "config.yaml"


def write_volumes(root):
    """Write different NIfTI-1 files of 12x12x3 voxels by hand: nibabel takes longer."""
    import nibabel as nib

    root.mkdir()
    affine = np.diag([-1.0, -1, 1, 1])
    header = nib.Nifti1Image(np.zeros([12, 12, 3], np.uint8), affine).header
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_slope_inter(1, 0)
    random = np.random.default_rng(0)
    for number in range(COUNT):
        voxels = random.integers(0, 5, [12, 12, 3]).astype(np.uint8)
        if number % 2:
            voxels *= 50
        content = header.binaryblock + bytes(4) + voxels.tobytes()
        (root / f"{number:04d}.nii").write_bytes(content)


def test_many_subjects_are_prepared_with_few_open_files(many):
    config, path = many
    command = [sys.executable, "-c", PREPARE, path, str(OPEN_FILES)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["files"] < 20
    # Itself and its libraries are 100 MB, a subject 25 kB.
    assert found["kilobytes"] < 250_000
    names = sorted(entry.name for entry in Path(found["folder"]).iterdir())
    assert names == ["body_mask.npy", "image.npy", "label_map.npy", "manifest.json"]
    assert list((config.data.cache_dir / "subjects").iterdir()) == []


def test_many_subjects_are_trained_on_with_few_open_files(many):
    from medusis_tf.data.batches.dataset import training_batches
    from medusis_tf.data.preparing.preparation import prepare_shards

    config, _ = many
    shards = prepare_shards(config)  # prepared by the other process
    before = open_files()
    shown = set()
    steps = COUNT // 2 * 3 // config.training.batch_size  # an epoch
    for batch in training_batches(config, shards).take(steps):
        shown.update(part.tobytes() for part in batch["label_map"].numpy())
        assert open_files() < before + 10
    assert len(shown) == COUNT // 2 * 3


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))
