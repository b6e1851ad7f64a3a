import sys

import numpy as np
import pytest

from medusis_tf.errors import UserError
from medusis_tf.interop.names import pytorch_names
from medusis_tf.interop.pytorch import (
    export_pytorch_weights,
    load_pytorch_weights,
    read_state_dict,
)
from tests.interop.networks import KINDS, make_network


@pytest.fixture(scope="module")
def networks():
    """Networks that no test changes."""
    return {kind: make_network(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_each_variable_has_one_name(kind, networks):
    network = networks[kind]
    named = [id(entry.variable) for entry in pytorch_names(network).values()]
    assert sorted(named) == sorted(id(variable) for variable in network.variables)


@pytest.mark.parametrize("kind", KINDS)
def test_export_then_load_restores_each_variable(kind, networks):
    network, other = networks[kind], make_network(kind)
    load_pytorch_weights(other, export_pytorch_weights(network))
    for variable, expected in zip(other.variables, network.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())


def test_constants_unused_tensors_and_parallel_prefix_are_ignored(networks):
    network = networks["wavelet_generator"]
    weights = export_pytorch_weights(network) | {
        "body.0.norm_0.first_norm.num_batches_tracked": np.array(7),
        "body.1.iwt.ll": np.ones((2, 2)),
        "body.1.norm_s.mlp_gamma.weight": np.ones(3),
    }
    load_pytorch_weights(network, {f"module.{key}": array for key, array in weights.items()})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"fc.weight": None}, "'fc.weight', shape .* is missing"),
        ({"fc.weight": np.ones((2, 2))}, r"'fc.weight' must have shape .* Received: \(2, 2\)"),
        ({"body.9.extra": np.ones(2)}, "'body.9.extra' does not belong to OASISGenerator"),
        ({"body.1.norm_s.extra": np.ones(2)}, "'body.1.norm_s.extra' does not belong"),
    ],
    ids=["missing", "shape", "unknown", "unused in the other generator only"],
)
def test_invalid_weights_are_rejected_and_change_nothing(change, message, networks):
    network = networks["oasis_generator"]
    before = [variable.numpy() for variable in network.variables]
    weights = {**{key: 0 * array for key, array in export_pytorch_weights(network).items()}}
    weights = {key: array for key, array in (weights | change).items() if array is not None}
    with pytest.raises(UserError, match=message):
        load_pytorch_weights(network, weights)
    for variable, expected in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected)


def test_reads_npz(tmp_path):
    np.savez(tmp_path / "weights.npz", **{"fc.bias": np.arange(3.0)})
    state_dict = read_state_dict(tmp_path / "weights.npz")
    np.testing.assert_array_equal(state_dict["fc.bias"], [0, 1, 2])


def test_pickled_npz_is_rejected(tmp_path):
    np.savez(tmp_path / "weights.npz", harmful=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="plain arrays"):
        read_state_dict(tmp_path / "weights.npz")


def test_corrupt_npz_is_rejected(tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"PK\x03\x04 not a zip file")
    with pytest.raises(UserError, match="not a readable"):
        read_state_dict(tmp_path / "weights.npz")


@pytest.mark.parametrize("name, message", [("absent.npz", "no such file"), ("a.txt", "'.txt'")])
def test_unreadable_files_are_rejected(tmp_path, name, message):
    (tmp_path / "a.txt").touch()
    with pytest.raises(UserError, match=message):
        read_state_dict(tmp_path / name)


def test_missing_pytorch_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "weights.pth").touch()
    with pytest.raises(UserError, match=r"medusis_tf\[pytorch\]"):
        read_state_dict(tmp_path / "weights.pth")


class StandInTorch:
    """The used functions of PyTorch, to test how a file is read without PyTorch installed."""

    def __init__(self, content):
        self.content = content
        self.received = None

    def load(self, path, **options):
        self.received = options
        return self.content

    def is_tensor(self, value):
        return isinstance(value, StandInTensor)


class StandInTensor:
    def detach(self):
        return self

    def numpy(self):
        return np.arange(3.0)


def read_pth(content, tmp_path, monkeypatch):
    torch = StandInTorch(content)
    monkeypatch.setitem(sys.modules, "torch", torch)
    (tmp_path / "weights.pth").touch()
    return read_state_dict(tmp_path / "weights.pth"), torch


def test_pth_is_read_without_executing_its_code(tmp_path, monkeypatch):
    state_dict, torch = read_pth({"fc.bias": StandInTensor()}, tmp_path, monkeypatch)
    assert torch.received == {"map_location": "cpu", "weights_only": True}
    np.testing.assert_array_equal(state_dict["fc.bias"], [0, 1, 2])


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}])
def test_pth_that_is_not_a_state_dict_is_rejected(content, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="must contain a state_dict"):
        read_pth(content, tmp_path, monkeypatch)


def test_reads_pth(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"fc.bias": torch.arange(3.0)}, tmp_path / "weights.pth")
    state_dict = read_state_dict(tmp_path / "weights.pth")
    np.testing.assert_array_equal(state_dict["fc.bias"], [0, 1, 2])
