"""The number of spatial axes of layers and networks: 2 for images, 3 for volumes."""

import keras

_CONVOLUTIONS = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}


def check_rank(rank):
    """Return the rank if it is 2 or 3, and raise a `ValueError` otherwise."""
    if rank not in _CONVOLUTIONS:
        raise ValueError(f"rank must be 2 (images) or 3 (volumes). Received: rank={rank!r}.")
    return rank


def conv_class(rank):
    """The convolution of Keras for images or for volumes."""
    return _CONVOLUTIONS[rank]


def unknown_sides(rank, channels):
    """Shape of a batch of features of which the channels alone are known.

    Returns:
        `(None, None, None, channels)`, with one more None for volumes.
    """
    return (None,) * (rank + 1) + (channels,)


def check_sparse(rank, sparse):
    """Raise a `ValueError` for sparse label maps of volumes."""
    if rank == 3 and sparse:
        raise ValueError(
            "Label maps of volumes are convolved at each voxel: sparse neighbourhoods are for "
            "images only. Received: rank=3, sparse=True. Pass sparse=False."
        )


def check_attention(rank):
    """Raise a `ValueError` for attention in volumes."""
    if rank == 3:
        raise ValueError("Attention is for images only. Received: rank=3.")
