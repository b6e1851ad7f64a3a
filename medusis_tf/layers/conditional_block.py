"""What the residual blocks of the two generators share: their settings and their parts."""

import keras

from medusis_tf.layers.label_neighbourhoods import label_neighbourhoods
from medusis_tf.layers.spade import SPADE
from medusis_tf.layers.spectral_conv import SpectralConv2D


class ConditionalBlock(keras.layers.Layer):
    """A residual block of SPADEs and spectrally normalised convolutions.

    Args:
        filters: Channels of the output.
        spade_channels: Hidden channels of every SPADE.
        noise_dim: Length of the noise vector; 0 for none.
        synchronized: Whether batch statistics are taken over all replicas.
        sparse: Whether the SPADEs work on the label map's distinct neighbourhoods instead of on
            every pixel: the same, faster on CPU. Their number is known only at run time.
    """

    def __init__(
        self,
        filters,
        spade_channels=128,
        noise_dim=0,
        synchronized=False,
        sparse=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.spade_channels = spade_channels
        self.noise_dim = noise_dim
        self.synchronized = synchronized
        self.sparse = sparse

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "spade_channels": self.spade_channels,
            "noise_dim": self.noise_dim,
            "synchronized": self.synchronized,
            "sparse": self.sparse,
        }

    def _neighbourhoods(self, one_hot):
        """What all SPADEs of the block share; None where they work on every pixel."""
        return label_neighbourhoods(one_hot) if self.sparse else None

    def _spade(self, name):
        return SPADE(
            self.spade_channels,
            self.noise_dim,
            self.synchronized,
            name=name,
            dtype=self.dtype_policy,
        )

    def _conv(self, filters, name, **options):
        return SpectralConv2D(filters, name=name, dtype=self.dtype_policy, **options)
