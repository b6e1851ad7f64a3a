"""Label maps in, volumes out; jobs and their progress."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

import medusis_tf as mt
from medusis_tf.server.settings import ServerLimits
from tests.server.small_server import client, label_map_file, opened
from tests.serving.small_run import make_predictor

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with client(tmp_path_factory) as opened:
        yield opened


def last_event(server, job):
    text = server.get(f"/jobs/{job}/events").text
    name, data = text.strip().split("\n\n")[-1].split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIR"])
def test_a_volume_equals_that_of_the_python_interface(server, tmp_path_factory, tmp_path, axes):
    path = label_map_file(tmp_path, axes)
    answer = server.post("/synthesize?seed=3&truncation=1.5", content=path.read_bytes())
    assert answer.status_code == 200
    received = opened(answer.content, tmp_path)
    expected = mt.synthesize(make_predictor(tmp_path_factory), path, seed=3, truncation=1.5)
    np.testing.assert_array_equal(received.affine, nib.load(path).affine)
    np.testing.assert_array_equal(received.get_fdata(), expected.get_fdata())


def test_a_job_reports_progress_and_keeps_volumes_and_records(server, tmp_path):
    content = label_map_file(tmp_path).read_bytes()
    started = server.post("/synthesize?samples=2&seed=5", content=content, headers=ASYNC)
    assert started.status_code == 202
    name, state = last_event(server, started.json()["job"])
    assert (name, state["state"], state["slice"], len(state["results"])) == ("done", "done", 5, 2)
    volumes = [
        opened(server.get(each["volume"]).content, tmp_path).get_fdata()
        for each in state["results"]
    ]
    assert np.any(volumes[0] != volumes[1])
    record = server.get(state["results"][1]["record"]).json()
    assert (record["synthetic"], record["seed"], record["model"]) == (True, 6, "small")
    classes = opened(server.get(state["label_map"]).content, tmp_path)
    np.testing.assert_array_equal(
        classes.get_fdata(), nib.load(tmp_path / "labels.nii.gz").get_fdata()
    )
    assert server.delete(started.headers["location"]).status_code == 204
    assert server.get(started.headers["location"]).status_code == 404


def test_interpolation_goes_from_one_seed_to_the_other(server, tmp_path):
    content = label_map_file(tmp_path).read_bytes()

    def paint(query):
        answer = server.post(f"/synthesize?{query}", content=content)
        return opened(answer.content, tmp_path).get_fdata()

    np.testing.assert_array_equal(paint("seed=1&other_seed=2&blend=0"), paint("seed=1"))
    np.testing.assert_array_equal(paint("seed=1&other_seed=2&blend=1"), paint("seed=2"))
    between = paint("seed=1&other_seed=2&blend=0.5")
    assert np.any(between != paint("seed=1")) and np.any(between != paint("seed=2"))


def test_the_phantom_can_be_painted(server, tmp_path):
    phantom = server.get("/phantom.nii.gz").content
    labels = opened(phantom, tmp_path).get_fdata()
    assert set(np.unique(labels)) == {0, 1, 2}
    answer = server.post("/synthesize", content=phantom)
    assert opened(answer.content, tmp_path).shape == labels.shape


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("seed=-1", "seed must be"),
        ("seed=x", "seed: "),
        ("truncation=nan", "truncation must be"),
        ("samples=0", "samples must be"),
        ("samples=99", "several samples need"),
        ("samples=2", "Prefer: respond-async"),
        ("other_seed=1&blend=2", "blend must be"),
        ("blend=0.5", "other_seed and blend belong together"),
        ("other_seed=1", "other_seed and blend belong together"),
        ("label_source=/etc/passwd", "label_source must be one of model"),
        ("label_source=../secret.yaml", "label_source must be one of model"),
        ("unlisted=nothing", "background, fat, muscle"),
        ("sede=3", "unknown parameter 'sede'; did you mean seed?"),
    ],
)
def test_wrong_values_are_refused(server, tmp_path, query, message):
    content = label_map_file(tmp_path).read_bytes()
    answer = server.post(f"/synthesize?{query}", content=content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_broken_files_are_refused_without_paths_of_the_server(server, tmp_path):
    content = label_map_file(tmp_path).read_bytes()
    unknown = label_map_file(tmp_path, array=np.full((4, 4, 4), 9)).read_bytes()
    for body, message in [
        (b"", "send the label map"),
        (b"no volume", "label map"),
        (content[:200], "label map"),
        (unknown, "ids that the model small, step 7 does not know: 9"),
    ]:
        answer = server.post("/synthesize", content=body)
        assert answer.status_code == 400
        assert message in answer.json()["error"]
        assert "medusis-serve-" not in answer.text
    assert server.get("/healthz").status_code == 200


def test_a_failed_job_says_why(server):
    job = server.post("/synthesize", content=b"no volume", headers=ASYNC).json()["job"]
    name, state = last_event(server, job)
    assert name == "failed"
    assert "label map" in state["error"]


def test_unknown_jobs_and_samples_are_404(server):
    for path in ("/jobs/none", "/jobs/..%2f..%2fetc/label_map.nii.gz", "/jobs/x/volumes/1.nii.gz"):
        assert server.get(path).status_code == 404
    assert server.get("/page/../application.py").status_code == 404
    assert server.get("/page/..%2fapplication.py").status_code == 404


def test_voxels_and_kept_jobs_are_limited(tmp_path_factory, tmp_path):
    content = label_map_file(tmp_path).read_bytes()
    with client(tmp_path_factory, ServerLimits(voxels=100)) as server:
        answer = server.post("/synthesize", content=content)
        assert (answer.status_code, "2880 voxels" in answer.text) == (413, True)
    with client(tmp_path_factory, ServerLimits(kept_jobs=1)) as server:
        jobs = [
            server.post("/synthesize", content=content, headers=ASYNC).json()["job"]
            for _ in range(3)
        ]
        assert last_event(server, jobs[-1])[0] == "done"
        server.post("/synthesize", content=content)
        assert server.get(f"/jobs/{jobs[0]}").status_code == 404


def test_a_deadline_ends_a_job(tmp_path_factory, tmp_path):
    content = label_map_file(tmp_path).read_bytes()
    with client(tmp_path_factory, ServerLimits(seconds=0.0)) as server:
        answer = server.post("/synthesize", content=content)
        assert answer.status_code == 504


def test_a_model_that_assumes_axes_is_served_like_the_command(
    server, tmp_path_factory, tmp_path, monkeypatch
):
    path = label_map_file(tmp_path)
    bare = bytearray(gzip.decompress(path.read_bytes()))
    bare[252:256] = bytes(4)  # qform_code, sform_code
    path = tmp_path / "bare.nii"
    path.write_bytes(bare)
    model, predictor = server.app.state.models.find("small"), make_predictor(tmp_path_factory)
    config = dict(model.metadata.config)
    config["data"] = {**config["data"], "reading": {"assume_axes": "LPS"}}
    assuming = model.metadata.model_copy(update={"config": config})
    monkeypatch.setattr(model, "metadata", assuming)
    monkeypatch.setattr(predictor, "metadata", assuming)
    answer = server.post("/synthesize?seed=3", content=bytes(bare))
    assert answer.status_code == 200, answer.text
    received = opened(answer.content, tmp_path)
    expected = mt.synthesize(predictor, path, seed=3)
    np.testing.assert_array_equal(received.affine, expected.affine)
    np.testing.assert_array_equal(received.get_fdata(), expected.get_fdata())
    assert int(received.header["sform_code"]) > 0
