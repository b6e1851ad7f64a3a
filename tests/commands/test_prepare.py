"""Output, files and error messages of `prepare`."""

import os
import re
import shutil
import subprocess
import sys

import filelock
import numpy as np
import pytest
import yaml
from PIL import Image

from medusis_tf.commands.prepare import prepare
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.preparing.store import Store
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config
from medusis_tf.reports.formatting import file_size
from tests.command_runner import run_command, user_error
from tests.data.small_subjects import (
    AFFINE,
    SHAPE,
    small_experiment,
    tree,
    write_cohort,
    write_subject,
)
from tests.data.volume_files import lps_affine, write_nifti

NUM_SLICES = 6 * 6  # six subjects


@pytest.fixture
def folder(tmp_path):
    """A folder with volumes, a manifest of them, and a configuration."""
    subjects = write_cohort(tmp_path / "root")
    config = small_experiment(tmp_path / "root", tmp_path / "cache", subjects)
    values = config.model_dump(mode="json")
    del values["data"]["subjects"]
    values["data"]["manifest"] = "subjects.yaml"
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    write_manifest(tmp_path, subjects)
    return tmp_path


@pytest.fixture
def config(folder):
    return folder / "tiny.yaml"


def write_manifest(folder, subjects):
    (folder / "subjects.yaml").write_text(yaml.safe_dump(subjects))


def listed(folder):
    return yaml.safe_load((folder / "subjects.yaml").read_text())


def data_set(folder):
    (found,) = (path.parent for path in (folder / "cache").glob("*/manifest.json"))
    return found


def test_volumes_become_slices_and_a_report(folder, config):
    status, out, err = run_command(prepare, "--config", config, "--jobs", 1)
    assert (status, err) == (0, "")
    written = data_set(folder)
    assert sorted(path.name for path in written.iterdir()) == [
        "body_mask.npy",
        "image.npy",
        "label_map.npy",
        "manifest.json",
        "report.html",
    ]
    report = (written / "report.html").read_text()
    assert all(name in report for name in ("ct_1", "mr_2", "valid"))
    lines = out.splitlines()
    assert lines[:6] == [
        f"{name}: kept 6 of 6 slices" for name in ("ct_1", "ct_2", "mr_1", "mr_2", "valid", "test")
    ]
    assert lines[6] == f"prepared slices of 6 subjects in {written}"
    assert lines[7:] == [
        f"report: {written / 'report.html'} (it shows images of patients)",
        "split       subjects  patients  label-map slices  image slices",
        "train              4         4                12            12",
        "validation         1         1                 0             6",
        "test               1         1                 6             6",
        "finer classes: off (data.refine is not set)",
    ]
    # Another time, only the report is written.
    before = tree(written)
    _, out, _ = run_command(prepare, "--config", config, "--jobs", 1)
    assert out.splitlines() == [f"using the slices prepared in {written}", *lines[7:]]
    after = tree(written)
    before.pop("report.html"), after.pop("report.html")
    assert before == after


def test_as_a_program_with_processes(folder, config):
    command = [sys.executable, "-m", "medusis_tf.prepare", "--config", config, "--jobs", "2"]
    report = ["--report", folder / "else.html"]
    result = subprocess.run([*command, *report], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"prepared slices of 6 subjects in {data_set(folder)}" in result.stdout
    assert sorted(re.findall(r"^(\w+): kept", result.stdout, re.MULTILINE)) == sorted(
        entry["subject"] for entry in listed(folder)
    )
    assert (folder / "else.html").is_file()
    assert not (data_set(folder) / "report.html").exists()


def test_slices_as_png(folder, config):
    for bits, mode in ((8, "L"), (16, "I;16")):
        png = folder / f"png_{bits}"
        export = ["--export-png", png, "--png-bits", bits]
        status, out, _ = run_command(prepare, "--config", config, "--jobs", 1, *export)
        assert status == 0
        # Label maps of three subjects and images of four.
        assert f"wrote {7 * 6} PNG files to {png}" in out
        with Image.open(png / "train/images/mr_1_slice_003.png") as image:
            assert (image.mode, image.size) == (mode, (32, 32))
        with Image.open(png / "test/labels/test_slice_000.png") as image:
            assert set(np.unique(np.asarray(image))) <= {0, 1, 2, 3, 4}
    message = user_error(prepare, "--config", config, "--jobs", 1, *export)
    assert "is not an empty folder" in message


def test_checking_writes_nothing(folder, config):
    before = tree(folder)
    status, out, err = run_command(prepare, "--config", config, "--check", "--jobs", 1)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"6 subjects, {NUM_SLICES} slices, 0 warnings"
    assert tree(folder) == before
    assert not (folder / "cache").exists()


def test_checking_finishes_all_files_before_it_fails(folder, config):
    write_nifti(folder / "root/ct_1/label_map.nii.gz", np.full([4, 4, 4], 99, np.uint8))
    (folder / "root/mr_1/image.nii.gz").write_bytes(b"\x1f\x8b broken")
    write_nifti(folder / "root/test/image.nii.gz", np.full([4, 4, 4], 3, np.int16))
    before = tree(folder)
    status, out, err = run_command(prepare, "--config", config, "--check", "--jobs", 1)
    assert status == 2
    problems = err.removeprefix("error: ").splitlines()
    assert [line.split(": ")[0] for line in problems[:3]] == [
        "subject ct_1",
        "subject mr_1",
        "subject test",
    ]
    assert problems[3:] == ["3 of 6 subjects cannot be used; the others are fine."]
    assert [line for line in out.splitlines() if "kept" in line] == [
        f"{name}: kept 6 of 6 slices" for name in ("ct_2", "mr_2", "valid")
    ]
    assert [line for line in out.splitlines() if "cannot" in line] == [
        f"{name}: cannot be used" for name in ("ct_1", "mr_1", "test")
    ]
    assert tree(folder) == before


def test_preparing_reports_problems_and_keeps_valid_subjects(folder, config):
    (folder / "root/mr_1/image.nii.gz").write_bytes(b"")
    message = user_error(prepare, "--config", config, "--jobs", 1)
    first, second = message.splitlines()
    assert re.match(r"subject mr_1: .*mr_1/image\.nii\.gz .*it is empty", first)
    assert second == "1 of 6 subjects cannot be used; the others are fine and kept."
    assert not list((folder / "cache").glob("*/manifest.json"))
    write_subject(folder / "root", "mr_1", kinds="image", seed=3)
    status, out, _ = run_command(prepare, "--config", config, "--jobs", 1)
    assert status == 0
    assert out.splitlines()[:2] == [
        "5 of 6 subjects were converted before",
        "mr_1: kept 6 of 6 slices",
    ]


def test_warnings_are_shown_by_subject(folder, config):
    random = np.random.default_rng(0)
    classes = random.integers(1, 5, (1, 1, 40)) * np.ones((12, 12, 1), int)
    image = (classes * 100 + random.normal(0, 5, classes.shape)).astype(np.int16)
    write_nifti(folder / "root/test/label_map.nii.gz", classes.astype(np.uint8))
    write_nifti(folder / "root/test/image.nii.gz", image, lps_affine(origin=(0, 0, 5)))
    _, out, _ = run_command(prepare, "--config", config, "--check", "--jobs", 1)
    lines = out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("test: kept"))
    assert re.match(r"  warning: label map and image do not seem to lie where", lines[place + 1])
    assert lines[-1].endswith("1 warnings")


def test_checking_finds_volumes_with_too_few_slices(config):
    volumes = "volumes={networks: 2.5d, depth: %d}"
    assert run_command(prepare, "--config", config, "--check", volumes % 6)[0] == 0
    status, _, err = run_command(prepare, "--config", config, "--check", volumes % 7)
    assert status == 2
    assert "7 neighbouring slices of label maps: the most are 6. Lower volumes.depth" in err


def test_a_depth_that_the_method_does_not_use_is_not_checked(config):
    values = yaml.safe_load(config.read_text())
    kept = ("name", "runs_dir", "data", "appearance")
    sections = {"method": "diffusion", **{key: values[key] for key in kept}}
    volumes = {"networks": "2.5d", "context": 1, "depth": 100, "noise_length": 2.0}
    config.write_text(yaml.safe_dump(sections | {"volumes": volumes}))
    assert run_command(prepare, "--config", config, "--check")[0] == 0


def test_cropped_bodies_and_other_sizes_are_reported(folder, config):
    narrow = ["data.field_of_view_mm=[24, 30]", "--jobs", 1]
    organ = np.zeros(SHAPE, np.uint8)
    organ[6:14, 5:13] = 2
    for name in ("ct_1", "ct_2"):
        write_nifti(folder / f"root/{name}/label_map.nii.gz", organ, AFFINE)
    _, out, _ = run_command(prepare, "--config", config, "--check", *narrow)
    lines = out.splitlines()
    place = lines.index("test: kept 6 of 6 slices")
    assert "of the foreground of the label map lies outside the grid" in lines[place + 1]
    cropped, sizes = (line for line in lines if line.startswith("warning: "))
    assert re.search(r"of \d of 6 subjects.*data\.field_of_view_mm=\[\d+, \d+\] holds", cropped)
    assert "the bodies in the training images are" in sizes
    warned = sum(line.startswith("  warning: ") for line in lines)
    assert lines[-1] == f"6 subjects, {NUM_SLICES} slices, {warned + 2} warnings"
    _, prepared, _ = run_command(prepare, "--config", config, *narrow)
    _, again, _ = run_command(prepare, "--config", config, *narrow)
    report = (data_set(folder) / "report.html").read_text()
    for warning in (cropped, sizes):
        assert warning in prepared and warning in again
        assert warning.removeprefix("warning: ") in report
    without = run_command(prepare, "--config", config, *narrow, "loss_weights.mask=0")[1]
    assert cropped in without and sizes not in without
    assert sizes.removeprefix("warning: ") not in (data_set(folder) / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--png-bits", 12], r"--png-bits must be 8 or 16\. Received: 12"),
        (["--check", "--report", "r.html"], r"--check writes nothing: remove"),
        (["--check", "--export-png", "png"], r"--check writes nothing: remove"),
        (["--check", "--prune"], r"--check writes nothing: remove"),
        (["--shard", "1/2", "--prune"], r"--shard only converts .*--prune"),
        (["data.cache=memory"], r"data\.cache=memory no slices are written"),
        (
            ["data.cache=memory", "--report", "r.html", "--prune"],
            r"--prune needs data\.cache=shards",
        ),
    ],
)
def test_options_that_exclude_each_other(folder, config, arguments, message):
    before = tree(folder)
    assert re.search(message, user_error(prepare, "--config", config, *arguments))
    assert tree(folder) == before


def test_other_data_sets_are_named_and_removed_on_request(folder, config):
    cache = folder / "cache"
    run_command(prepare, "--config", config, "--jobs", 1)
    first = data_set(folder)
    # A copy with a name of its own; and what looks like a data set, but is a patient or a run.
    shutil.copytree(first, cache / "backup")
    for other, text in (("0123456789abcdef", '{"modality": "CT"}'), ("my slices", "{}")):
        (cache / other).mkdir()
        (cache / other / "manifest.json").write_text(text)
    (cache / "fedcba9876543210").symlink_to(first, target_is_directory=True)
    size = sum(path.stat().st_size for path in first.glob("*.npy"))
    earlier = names(cache)

    write_manifest(folder, listed(folder)[:-1])
    _, out, _ = run_command(prepare, "--config", config, "--jobs", 1)
    assert out.splitlines()[-1] == (
        f"{cache} also holds other data sets: 1, {file_size(size)}. If no run needs them, --prune "
        "removes them."
    )
    (second,) = (cache / name for name in names(cache) - earlier - {".lock", "subjects"})
    before, kept = tree(second), names(cache) - {first.name}

    status, out, err = run_command(prepare, "--config", config, "--jobs", 1, "--prune")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"removed other data sets from {cache}: 1, {file_size(size)}"
    assert names(cache) == kept
    after = tree(second)
    before.pop("report.html"), after.pop("report.html")
    assert before == after
    _, out, _ = run_command(prepare, "--config", config, "--jobs", 1, "--prune")
    assert out.splitlines()[-1] == f"no other data sets to remove are in {cache}"


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_data_set_that_was_removed_in_part_is_removed_next_time(folder, config, monkeypatch):
    run_command(prepare, "--config", config, "--jobs", 1)
    write_manifest(folder, listed(folder)[:-1])
    run_command(prepare, "--config", config, "--jobs", 1)
    rmtree = shutil.rmtree

    def refuse(path, **_):
        (path / "manifest.json").unlink(missing_ok=True)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    message = user_error(prepare, "--config", config, "--jobs", 1, "--prune")
    assert message.startswith(f"cannot remove data sets from data.cache_dir={folder / 'cache'}: ")
    # It is named as long as it cannot be removed, and stops nobody.
    status, out, err = run_command(prepare, "--config", config, "--jobs", 1)
    assert status == 0
    assert re.search(r"warning: cannot remove .*\.partial-.*: Input/output error", out + err)
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    assert run_command(prepare, "--config", config, "--jobs", 1)[0] == 0
    left = [path.name for path in (folder / "cache").iterdir() if path.is_dir()]
    assert sorted(left) == sorted([data_set(folder).name, "subjects"])


def test_a_data_set_that_a_process_uses_stays(folder, config):
    """A training opens files again and again, long after it has started."""
    used = prepare_shards(load_config(config))
    write_manifest(folder, listed(folder)[:-1])
    status, out, _ = run_command(prepare, "--config", config, "--jobs", 1, "--prune")
    assert status == 0
    assert out.splitlines()[-2:] == [
        f"keeping {used.folder}, which another process uses",
        f"no other data sets to remove are in {folder / 'cache'}",
    ]
    assert Shards.open(used.folder) is not None
    place = used.folder
    del used
    run_command(prepare, "--config", config, "--jobs", 1, "--prune")
    assert not place.exists()


def test_a_data_set_of_another_user_is_left_whole(folder, config, monkeypatch):
    run_command(prepare, "--config", config, "--jobs", 1)
    first = data_set(folder)
    before = tree(first)
    write_manifest(folder, listed(folder)[:-1])
    monkeypatch.setattr(os, "access", lambda path, mode: path != first)
    message = user_error(prepare, "--config", config, "--jobs", 1, "--prune")
    assert message.endswith(f"cache: {first.name} cannot be written.")
    assert tree(first) == before


def test_nothing_is_removed_if_another_process_removed_the_own_data_set(folder, config):
    run_command(prepare, "--config", config, "--jobs", 1)
    before = tree(folder / "cache")
    store = Store(folder / "cache", (32, 32))
    with pytest.raises(UserError, match=r"another process has removed .* meanwhile"):
        store.remove_data_sets_beside(folder / "cache" / "0123456789abcdef")
    assert tree(folder / "cache") == before


def test_slices_in_memory_can_be_checked_and_reported(folder, config):
    memory = ["data.cache=memory", "--jobs", 1]
    assert run_command(prepare, "--config", config, "--check", *memory)[0] == 0
    report = folder / "report.html"
    assert run_command(prepare, "--config", config, "--report", report, *memory)[0] == 0
    assert "mr_1" in report.read_text()
    assert not (folder / "cache").exists()


def test_a_cache_that_cannot_be_written_is_named(folder, config):
    (folder / "file").touch()
    for place in ("file", "file/cache"):
        message = user_error(prepare, "--config", config, f"data.cache_dir={folder / place}")
        assert message.startswith(
            f"cannot write prepared slices to data.cache_dir={folder / place}: "
        )


def test_a_report_that_cannot_be_written_is_named(folder, config):
    (folder / "file").touch()
    message = user_error(
        prepare, "--config", config, "--jobs", 1, "--report", folder / "file" / "r.html"
    )
    assert message.startswith(f"cannot write the report {folder / 'file' / 'r.html'}: ")


def duplicate(folder, subjects):
    return [*subjects, subjects[0]]


def torn(folder, subjects):
    subjects[1] |= {"patient": "p", "split": "train"}
    subjects[5] |= {"patient": "p"}
    return subjects


def escaping(folder, subjects):
    subjects[0]["label_map"] = "../outside.nii.gz"
    return subjects


def linked(folder, subjects):
    (folder / "root/link.nii.gz").symlink_to(folder / "outside.nii.gz")
    subjects[0]["label_map"] = "link.nii.gz"
    return subjects


def missing(folder, subjects):
    subjects[2]["image"] = "mr_1/absent.nii.gz"
    return subjects


def shifted(folder, subjects):
    write_nifti(folder / "root/s.nii.gz", np.ones([20, 18, 6], np.int16), lps_affine((2, 2, 4)))
    subjects[5]["image"] = "s.nii.gz"
    affine = lps_affine((2, 2, 4), (3.3, -2, 8))
    write_nifti(folder / "root/test/label_map.nii.gz", np.ones([20, 18, 6], np.uint8), affine)
    return subjects


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (duplicate, r"subjects\.yaml is not a valid manifest:\n  line \d+: duplicate subject ct_1"),
        (torn, r"all scans of a patient must be in one split\. In several: .'p \(test, train\)'."),
        (escaping, r"subject ct_1: \.\./outside\.nii\.gz leads out of data\.root=.*outside\.nii"),
        (linked, r"subject ct_1: link\.nii\.gz leads out of data\.root=.*outside\.nii"),
        (missing, r"subject mr_1: there is no file mr_1/absent\.nii\.gz in data\.root="),
        (shifted, r"subject test: .*a fraction of a voxel.*\[-3\.3, 2\.0, -8\.0\] mm.*pair_by"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("check", [True, False])
def test_an_invalid_manifest_gets_one_message(folder, config, make, message, check):
    write_nifti(folder / "outside.nii.gz", np.ones([4, 4, 4], np.uint8))
    write_manifest(folder, make(folder, listed(folder)))
    arguments = ["--check"] if check else []
    found = user_error(prepare, "--config", config, "--jobs", 1, *arguments)
    assert re.search(message, found), found
    assert len(found.splitlines()) <= 2


def test_the_shares_of_an_array_job_are_disjoint_and_together_all(folder, config):
    """Assembled, they are the data set that one process makes; nothing is converted twice."""
    run_command(prepare, "--config", config, "--jobs", 1)
    whole = {path.name: path.read_bytes() for path in data_set(folder).glob("*.npy")}
    shutil.rmtree(folder / "cache")
    converted = []
    for number in range(1, 5):
        status, out, err = run_command(
            prepare, "--config", config, "--jobs", 1, "--shard", f"{number}/4"
        )
        assert (status, err) == (0, "")
        converted.append(set(re.findall(r"(\S+): kept", out)))
    names = {entry["subject"] for entry in listed(folder)}
    assert [len(each) for each in converted] == [2, 2, 1, 1]
    assert set.union(*converted) == names
    assert not list((folder / "cache").glob("*/manifest.json"))
    _, again, _ = run_command(prepare, "--config", config, "--jobs", 1, "--shard", "1/4")
    assert "kept" not in again
    status, out, err = run_command(prepare, "--config", config, "--jobs", 1)
    assert (status, err) == (0, "")
    assert "6 of 6 subjects were converted before" in out
    assert {path.name: path.read_bytes() for path in data_set(folder).glob("*.npy")} == whole


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "-1/4", "1/0"])
def test_a_share_that_does_not_exist_is_refused(config, shard):
    message = user_error(prepare, "--config", config, f"--shard={shard}")
    assert message == f"--shard must be I/N with 1 <= I <= N, such as 3/8. Received: {shard!r}"


def test_a_share_is_converted_by_one_process_and_held_while_it_is(folder, config):
    cache = folder / "cache"
    cache.mkdir()
    with filelock.FileLock(cache / ".lock-share-0-2"):
        message = user_error(prepare, "--config", config, "--shard", "1/2")
        assert message.startswith("another process converts this share")
        status, _, _ = run_command(prepare, "--config", config, "--jobs", 1, "--shard", "2/2")
    assert status == 0


def test_a_share_has_no_report(config):
    message = user_error(prepare, "--config", config, "--shard", "1/2", "--check")
    assert message.startswith("--shard only converts to data.cache_dir: remove --check")
