"""The whole way, as `make demo` goes it, with the smallest networks and two steps."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SMALLEST = [
    "data.image_size=[32, 32]",
    "generator={base_channels: 2, noise_dim: 4, num_blocks: 2, spade_channels: 4}",
    "discriminator={base_channels: 4, max_channels: 8}",
    "segmenter={base_channels: 2, num_levels: 2}",
    "training.steps=2",
    "training.r1.interval=1",
    "training.ema.refresh_batches=1",
]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart") / "demo"
    command = [sys.executable, "-m", "pipelines.quickstart", "--out", str(folder), *SMALLEST]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


def test_every_place_that_is_told_is_there(quickstart):
    folder, printed = quickstart
    told = [line.split()[-1] for line in printed.partition("Look at:")[2].splitlines()[1:8]]
    assert len(told) == 7
    for place in told:
        paths = [place.replace("{1,2,3}", number) for number in "123"]
        assert all(Path(path).exists() for path in paths), place
    assert str(folder) in told[0]


def test_the_synthetic_volumes_lie_on_the_label_map(quickstart):
    folder, _ = quickstart
    label_map = nib.load(folder / "label_map.nii.gz")
    volumes = [nib.load(folder / f"synthetic_{number}.nii.gz") for number in (1, 2, 3)]
    for volume in volumes:
        assert volume.shape == label_map.shape
        np.testing.assert_array_equal(volume.affine, label_map.affine)
        assert np.isfinite(volume.get_fdata()).all()
    assert np.any(volumes[0].get_fdata() != volumes[1].get_fdata())


def test_the_evaluation_and_the_pictures_are_written(quickstart):
    folder, printed = quickstart
    run = folder / "runs" / "quickstart"
    content = json.loads((run / "evaluation" / "test_step_0000002" / "metrics.json").read_text())
    assert {method["name"] for method in content["methods"]} >= {"quickstart, step 2"}
    assert "class means" in printed
    for picture in (run / "panels" / "step_0000002.png", folder / "synthetic.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_manifest_tells_subjects_splits_checksums_and_versions(quickstart):
    folder, _ = quickstart
    manifest = json.loads((folder / "runs" / "quickstart" / "manifest.json").read_text())
    splits = {entry["subject"]: entry["split"] for entry in manifest["subjects"]}
    assert splits["test_0"] == "test"
    assert len(splits) == 9
    for entry in manifest["subjects"]:
        assert all(len(file["sha256"]) == 64 for file in entry["sources"].values())
    assert {"tensorflow", "keras"} <= set(manifest["provenance"]["versions"])
