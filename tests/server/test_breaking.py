"""Requests of somebody who wants to break the server: each is answered, and the server lives on."""

import gzip
import json
import re
import struct

import nibabel as nib
import numpy as np
import pytest

import medusis_tf as mt
from medusis_tf.server.settings import ServerLimits
from tests.server.small_server import client, label_map_file, opened
from tests.serving.small_run import ellipses, make_predictor, write_nifti

TOKEN = "a-long-enough-token"  # noqa: S105
PREDICT = "/v1/models/small:predict"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with client(tmp_path_factory) as opened:
        yield opened


def written(folder, name):
    """A label map with a geometry that programs get wrong."""
    path = folder / "labels.nii.gz"
    array, affine = ellipses(), np.diag([-2.5, -2.5, 5.0, 1.0])
    affine[:3, 3] = (30, 20, -100)
    if name in ("LIA", "LPS", "RAS", "PIR"):
        write_nifti(path, array, name)
        return path
    if name == "oblique":
        angle = 0.4
        turn = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
        affine[:3, :3] = np.array(turn) @ affine[:3, :3]
    if name == "anisotropic":
        affine[:3, :3] = np.diag([-0.9, -3.7, 11.0])
    if name == "one slice":
        array = array[:, :, 3:4]
    if name == "sheared":
        affine[0, 2] = 1.5
    if name == "NIfTI-2":
        nib.save(nib.Nifti2Image(array.astype(np.uint8), affine), path)
        return path
    nib.save(nib.Nifti1Image(array.astype(np.int16), affine), path)
    return path


@pytest.mark.parametrize(
    "name",
    ["LIA", "LPS", "RAS", "PIR", "oblique", "anisotropic", "one slice", "sheared", "NIfTI-2"],
)
def test_any_geometry_gives_the_volume_of_the_command_on_its_grid(
    server, tmp_path_factory, tmp_path, name
):
    path = written(tmp_path, name)
    answer = server.post("/synthesize?seed=2", content=path.read_bytes())
    assert answer.status_code == 200, answer.text
    received, source = opened(answer.content, tmp_path), nib.load(path)
    expected = mt.synthesize(make_predictor(tmp_path_factory), path, seed=2)
    assert received.shape == source.shape
    np.testing.assert_array_equal(received.affine, source.affine)
    np.testing.assert_array_equal(received.get_fdata(), expected.get_fdata())


def raw(folder):
    return bytearray(gzip.decompress(label_map_file(folder).read_bytes()))


def changed(content, place, layout, *values):
    """A NIfTI-1 file with other values in its header."""
    content = bytearray(content)
    struct.pack_into(layout, content, place, *values)
    return bytes(content)


HEADERS = {
    "no dimensions": (40, "<h", 0),
    "negative dimension": (42, "<h", -3),
    "four dimensions": (40, "<5h", 4, 24, 20, 3, 2),
    "colour": (70, "<2h", 128, 24),
    "complex": (70, "<2h", 32, 64),
    "unknown type": (70, "<2h", 7777, 8),
    "no orientation": (252, "<2h", 0, 0),
    "affine of zeros": (280, "<12f", *[0] * 12),
    "affine of NaN": (280, "<12f", *[float("nan")] * 12),
    "affine of infinity": (280, "<12f", *[float("inf")] * 12),
    "huge voxels": (280, "<12f", 1e30, 0, 0, 0, 0, 1e30, 0, 0, 0, 0, 1e30, 0),
    "voxels of a metre": (280, "<12f", 1e3, 0, 0, 0, 0, 1e3, 0, 0, 0, 0, 1e3, 0),
    "voxels of a kilometre": (280, "<12f", 1e6, 0, 0, 0, 0, 1e6, 0, 0, 0, 0, 1e6, 0),
    "voxels far before the file": (108, "<f", -1e9),
    "voxels far behind the file": (108, "<f", 1e9),
    "voxels nowhere": (108, "<f", float("nan")),
    "ids scaled by NaN": (112, "<2f", 1.0, float("nan")),
    "ids scaled to infinity": (112, "<2f", 1e38, 1e38),
    "ids scaled to fractions": (112, "<2f", 0.3, 0.1),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_broken_headers_are_refused(server, tmp_path, name, compress):
    content = compress(changed(raw(tmp_path), *HEADERS[name]))
    answer = server.post("/synthesize", content=content)
    assert answer.status_code in (400, 413), answer.text
    assert "medusis-serve-" not in answer.text
    assert not re.search(r"data\.[a-z]|--", answer.text)


@pytest.mark.parametrize("step", [1e21, 1e38, float("inf"), float("nan"), 0.0])
def test_broken_mgh_headers_are_refused(server, step):
    image = nib.MGHImage(ellipses().astype(np.uint8), np.eye(4))
    content = bytearray(image.to_bytes())
    struct.pack_into(">9f", content, 42, *[step, 0, 0] * 3)
    answer = server.post("/synthesize?file_name=a.mgh", content=bytes(content))
    assert (answer.status_code, "not valid" in answer.text) == (400, True)


def test_files_that_end_too_early_are_refused_at_every_length(server, tmp_path):
    content = label_map_file(tmp_path).read_bytes()
    plain = bytes(raw(tmp_path))
    for whole in (content, plain):
        for length in (1, 2, 3, 10, 100, 347, 348, 352, len(whole) // 2, len(whole) - 1):
            answer = server.post("/synthesize", content=whole[: min(length, len(whole) - 1)])
            assert answer.status_code == 400, length
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 255
    assert server.post("/synthesize", content=bytes(damaged)).status_code == 400


def test_random_headers_never_break_the_server(server, tmp_path):
    rng, plain = np.random.default_rng(0), bytes(raw(tmp_path))
    statuses = set()
    for _ in range(60):
        content = bytearray(plain)
        for place in rng.integers(40, 348, 3):
            content[place] = rng.integers(256)
        answer = server.post("/synthesize", content=bytes(content))
        statuses.add(answer.status_code)
        assert answer.status_code in (200, 400, 413), answer.text
    assert 400 in statuses


def test_small_files_that_unpack_to_much_are_refused(server, tmp_path):
    header = changed(raw(tmp_path)[:352], 40, "<4h", 3, 500, 500, 500)
    bomb = gzip.compress(bytes(header) + bytes(500**3))
    assert len(bomb) < 2**18
    answer = server.post("/synthesize", content=bomb)
    assert (answer.status_code, "125000000 voxels" in answer.text) == (413, True)
    trailing = gzip.compress(bytes(raw(tmp_path)) + bytes(2**26))
    answer = server.post("/synthesize", content=trailing)
    assert (answer.status_code, "unpacks to far more" in answer.text) == (400, True)


@pytest.mark.parametrize(
    "query",
    [
        "seed=" + "9" * 5000,
        "seed=2147483647",
        "seed=1.5",
        "truncation=-1",
        "truncation=-inf",
        "other_seed=1&blend=nan",
        "other_seed=-1&blend=1",
        "samples=-1",
        "samples=1e9",
        "label_source=%00",
        "label_source=file:///etc/passwd",
        "file_name=%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "unlisted=../../etc/passwd",
    ],
)
def test_wrong_values_of_the_query(server, tmp_path, query):
    answer = server.post(f"/synthesize?{query}", content=label_map_file(tmp_path).read_bytes())
    assert answer.status_code == 400
    assert len(answer.content) < 2000
    assert "/etc/" not in answer.text or "one of" in answer.text


@pytest.mark.parametrize(
    "instance",
    [
        {"label_map": [[]], "seed": [0, 0], "truncation": 1},
        {"label_map": [], "seed": [0, 0], "truncation": 1},
        {"label_map": 5, "seed": [0, 0], "truncation": 1},
        {"label_map": None, "seed": [0, 0], "truncation": 1},
        {"label_map": [[True] * 4] * 4, "seed": [0, 0], "truncation": 1},
        {"label_map": [[{"b64": "AA=="}]], "seed": [0, 0], "truncation": 1},
        {"label_map": [[0] * 4] * 4, "seed": [0], "truncation": 1},
        {"label_map": [[0] * 4] * 4, "seed": [-1, 0], "truncation": -0.5},
        {"label_map": [[-1] * 4] * 4, "seed": [0, 0], "truncation": 1},
        {"label_map": [[2**31] * 4] * 4, "seed": [0, 0], "truncation": 1},
        {"label_map": [[1.5] * 4] * 4, "seed": [0, 0], "truncation": 1},
        {"label_map": [[0] * 4] * 4, "seed": [0, 0], "truncation": "Infinity"},
        {"label_map": [[float("nan")] * 4] * 4, "seed": [0, 0], "truncation": 1},
        {"label_map": [[0] * 4] * 4, "seed": [0, 0], "truncation": float("nan")},
    ],
)
def test_wrong_predictions(server, instance):
    answer = server.post(PREDICT, content=json.dumps({"instances": [instance]}))
    assert answer.status_code == 400
    assert len(answer.content) < 1000


def test_a_prediction_larger_than_memory_is_refused(tmp_path_factory):
    with client(tmp_path_factory, ServerLimits(voxels=100)) as server:
        rows = {"label_map": [[0] * 12] * 12, "seed": [0, 0], "truncation": 1}
        answer = server.post(PREDICT, json={"instances": [rows]})
        assert (answer.status_code, "144 numbers" in answer.text) == (413, True)


def test_no_address_is_open_with_a_wrong_token(tmp_path_factory):
    wrong = (
        b"bearer a-long-enough-token",
        b"Bearer a-long-enough-toke",
        b"Bearer  a-long-enough-token",
        b"Basic YS1sb25nLWVub3VnaC10b2tlbg==",
        "Bearer \u00e4".encode("latin-1"),
        b"",
    )
    with client(tmp_path_factory, token=TOKEN) as server:
        for given in wrong:
            for path in ("/api/models", "/v1/models/small", "/jobs/x", "/metrics", "/x", "/page"):
                answer = server.get(path, headers={b"Authorization": given})
                assert answer.status_code == 401
        assert server.post("/synthesize", content=b"x").status_code == 401


def test_the_server_still_works(server, tmp_path):
    content = label_map_file(tmp_path).read_bytes()
    assert server.post("/synthesize", content=content).status_code == 200
    assert server.get("/healthz").json() == {"status": "ok"}
