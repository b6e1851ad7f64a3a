"""The wheel, installed without the checkout: every command works from any folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from medusis_tf.commands.application import GROUPS
from tests.small_networks import SMALLEST

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the sources, without a network."""
    if find_spec("setuptools") is None or int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("building the wheel needs setuptools>=77, of the extra dev")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("medusis_tf", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", "-q", *offline, "-w", str(out), str(source)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Unpack the wheel, as `pip install --target` does."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def run(installed, tmp_path_factory):
    """Return a function that runs Python in another folder, with the wheel on its path."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*arguments):
        result = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


def test_the_wheel_holds_all_files_that_commands_read(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {
        f"medusis_tf/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")
    }
    files = (path for path in (ROOT / "medusis_tf").rglob("*") if path.is_file())
    expected |= {str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"}
    assert "medusis_tf/server/page/index.html" in expected
    assert expected <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"medusis_tf"}


def test_the_checkout_is_not_imported(run, installed):
    code = "import medusis_tf, importlib.util as u; print(medusis_tf.__file__, u.find_spec({!r}))"
    expected = [str(installed / "medusis_tf" / "__init__.py"), "None"]
    assert run("-c", code.format("pipelines")).split() == expected


def test_the_console_script_is_the_application(wheel, run):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "medusis = medusis_tf.commands.application:main" in archive.read(name).decode()
    assert run("-m", "medusis_tf", "--version").startswith("medusis ")
    listed = run("-m", "medusis_tf")
    assert all(f" {name} " in listed for commands in GROUPS.values() for name in commands)


def test_configurations_and_tables_are_found_by_name(run, installed):
    listed = run("-m", "medusis_tf", "configs")
    assert str(installed / "medusis_tf" / "configs") in listed
    assert "  thigh_ct_to_mr " in listed
    assert "  synthrad31 " in listed


@pytest.fixture(scope="module")
def quickstart(run, tmp_path_factory):
    """Run the quickstart from the wheel."""
    folder = tmp_path_factory.mktemp("quickstart") / "demo"
    return folder, run("-m", "medusis_tf", "quickstart", "--out", folder, *SMALLEST)


def test_quickstart_lists_results_that_exist(quickstart):
    folder, printed = quickstart
    lines = printed.partition("Results:\n")[2].splitlines()[:7]
    for place in [line.split()[-1] for line in lines]:
        assert place.startswith(str(folder))
        paths = [place.replace("{1,2,3}", number) for number in "123"]
        assert all(Path(path).exists() for path in paths), place


def test_quickstart_volumes_are_on_the_grid_of_the_label_map(quickstart):
    folder, _ = quickstart
    label_map = nib.load(folder / "label_map.nii.gz")
    volumes = [nib.load(folder / f"synthetic_{number}.nii.gz") for number in (1, 2, 3)]
    for volume in volumes:
        assert volume.shape == label_map.shape
        np.testing.assert_array_equal(volume.affine, label_map.affine)
        assert np.isfinite(volume.get_fdata()).all()
    assert np.any(volumes[0].get_fdata() != volumes[1].get_fdata())


def test_quickstart_writes_the_evaluation_and_images(quickstart):
    folder, printed = quickstart
    run_dir = folder / "runs" / "quickstart"
    path = run_dir / "evaluation" / "test_step_0000002" / "metrics.json"
    methods = {method["name"] for method in json.loads(path.read_text())["methods"]}
    assert methods >= {"quickstart, step 2"}
    assert "class means" in printed
    for image in (run_dir / "panels" / "step_0000002.png", folder / "synthetic.png"):
        assert image.read_bytes().startswith(b"\x89PNG")


def test_quickstart_manifest_records_subjects_checksums_and_versions(quickstart):
    folder, _ = quickstart
    manifest = json.loads((folder / "runs" / "quickstart" / "manifest.json").read_text())
    splits = {entry["subject"]: entry["split"] for entry in manifest["subjects"]}
    assert splits["test_0"] == "test"
    assert len(splits) == 9
    for entry in manifest["subjects"]:
        assert all(len(file["sha256"]) == 64 for file in entry["sources"].values())
    assert {"tensorflow", "keras", "medusis_tf"} <= set(manifest["provenance"]["versions"])


def test_train_finds_the_packaged_configuration_and_its_table(quickstart, run):
    folder, _ = quickstart
    root = f"data.root={folder / 'data'}"
    printed = run("-m", "medusis_tf", "train", "--config", "quickstart", "--dry-run", root)
    assert yaml.safe_load(printed)["data"]["classes"][4]["name"] == "tumour"
    old = run("-m", "medusis_tf.train", "--config", "configs/quickstart.yaml", "--dry-run", root)
    assert old == printed
