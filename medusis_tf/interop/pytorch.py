"""Read, load and export the weights of the published PyTorch networks."""

import lzma
import math
import pathlib
import pickle
import struct
import tokenize
import zipfile
import zlib

import numpy as np

from medusis_tf.errors import UserError
from medusis_tf.interop.names import CONSTANTS, NEVER_USED, pytorch_names

# What zipfile and NumPy raise for damaged archives: an unknown compression, encryption, a broken
# stream, a header that is no Python literal.
_DAMAGED = (
    *(ValueError, OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError),
    *(NotImplementedError, struct.error, SyntaxError, tokenize.TokenError, TypeError),
    *(KeyError, OverflowError, MemoryError, RecursionError, lzma.LZMAError),
)
_LARGEST_RATIO = 100
_LARGEST_HEADER = 10_000


def read_state_dict(path):
    """Read a PyTorch `state_dict` from a file.

    Args:
        path: A `.npz` file with one array per tensor, or a `.pth` or `.pt` file. The latter need
            PyTorch and are read without executing code they may contain.

    Returns:
        Dictionary from tensor names to NumPy arrays.

    Raises:
        UserError: The file is missing, has an unsupported format or contains other objects.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Pass a .npz, .pth or .pt file.")
    readers = {".npz": _read_npz, ".pth": _read_pth, ".pt": _read_pth}
    if path.suffix not in readers:
        raise UserError(
            f"{path}: the weights must be a .npz, .pth or .pt file. Received: {path.suffix!r}."
        )
    return readers[path.suffix](path)


def load_pytorch_weights(model, state_dict):
    """Load a PyTorch `state_dict` into all variables of a network.

    The network changes only if all tensors match its variables.

    Args:
        model: A built network of one of the four published kinds.
        state_dict: Dictionary from PyTorch tensor names to arrays.

    Raises:
        UserError: A tensor is missing, unknown or has another shape.
    """
    state_dict = _without_wrapper(state_dict)
    names = pytorch_names(model)
    never_used = NEVER_USED.get(type(model), "\0")
    for key in state_dict:
        is_constant = key.rsplit(".", 1)[-1] in CONSTANTS
        if key not in names and not is_constant and never_used not in key:
            raise UserError(
                f"PyTorch tensor {key!r} does not belong to {type(model).__name__}. "
                "Use the network and the settings with which the weights were trained."
            )
    arrays = {key: _checked(key, entry, state_dict) for key, entry in names.items()}
    for key, entry in names.items():
        entry.variable.assign(entry.to_keras(arrays[key]))


def export_pytorch_weights(model):
    """Export the weights of a network under their PyTorch names, the inverse of loading.

    Args:
        model: A built network of one of the four published kinds.

    Returns:
        Dictionary from PyTorch tensor names to float32 arrays.
    """
    names = pytorch_names(model)
    return {key: entry.to_pytorch(entry.variable.numpy()) for key, entry in names.items()}


def _checked(key, entry, state_dict):
    if key not in state_dict:
        raise UserError(
            f"PyTorch tensor {key!r}, shape {entry.shape}, is missing. "
            "Use the network and the settings with which the weights were trained."
        )
    array = np.asarray(state_dict[key])
    if array.shape != entry.shape:
        raise UserError(
            f"PyTorch tensor {key!r} must have shape {entry.shape}. Received: {array.shape}. "
            "Check the numbers of classes, channels and noise, and the image size."
        )
    return array


def _without_wrapper(state_dict):
    """Remove the prefix that DataParallel of PyTorch adds to all names."""
    prefix = "module."
    if not all(key.startswith(prefix) for key in state_dict):
        return state_dict
    return {key.removeprefix(prefix): array for key, array in state_dict.items()}


def _read_npz(path):
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _check_unpacked(path, archive)
            return {
                entry.filename.removesuffix(".npy"): _read_array(archive, entry)
                for entry in archive.infolist()
            }
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: not a readable .npz file of plain arrays ({reason}).") from None


def _check_unpacked(path, archive):
    """Refuse an archive that unpacks to much more than its size."""
    size = path.stat().st_size
    if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_RATIO * size + 2**20:
        raise ValueError(f"it unpacks to more than {_LARGEST_RATIO} times its size")


def _read_array(archive, entry):
    """Read one member, whose header must agree with its size before memory is taken for it."""
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, order, dtype = read(member, max_header_size=_LARGEST_HEADER)
        if dtype.hasobject or dtype.kind not in "fiub" or any(side < 0 for side in shape):
            raise ValueError(f"{entry.filename[:100]} is not an array of numbers")
        count = math.prod(shape)
        if count * dtype.itemsize > entry.file_size:
            raise ValueError(f"{entry.filename[:100]} is shorter than its header says")
        content = member.read(count * dtype.itemsize)
        array = np.frombuffer(content, dtype, count).reshape(shape, order="F" if order else "C")
        if member.read(1):
            raise ValueError(f"{entry.filename[:100]} is longer than its header says")
    return array.copy()


def _read_pth(path):
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path}: reading this file needs PyTorch. Install medusis_tf[pytorch], or store the "
            "tensors as .npz."
        ) from error
    try:
        state_dict = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *_DAMAGED, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: not a PyTorch file of plain tensors ({reason}).") from None
    if not isinstance(state_dict, dict) or not all(map(torch.is_tensor, state_dict.values())):
        raise UserError(
            f"{path}: must contain a state_dict, with names and tensors only. "
            f"Received: {type(state_dict).__name__}. Save network.state_dict() in PyTorch."
        )
    if unnamed := [key for key in state_dict if not isinstance(key, str)]:
        raise UserError(f"{path}: names of tensors must be text. Received: {unnamed[0]!r:.100}.")
    return {key: _as_array(path, key, tensor) for key, tensor in state_dict.items()}


def _as_array(path, key, tensor):
    """Convert a dense tensor of real numbers; bfloat16, which NumPy lacks, becomes float32."""
    tensor = tensor.detach()
    if "bfloat16" in str(getattr(tensor, "dtype", "")):
        tensor = tensor.float()
    try:
        array = tensor.numpy()
    except (TypeError, RuntimeError, NotImplementedError):
        array = None  # sparse, quantized, conjugate or without data
    if array is None or array.dtype.kind not in "fiub":
        raise UserError(
            f"{path}: tensor {key!r} is sparse, quantized, complex or without data. Save dense "
            "tensors of real numbers."
        )
    return array
