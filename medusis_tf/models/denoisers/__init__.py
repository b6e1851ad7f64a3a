"""Denoisers: networks that estimate an image from a noisy one."""

from medusis_tf.models.denoisers.unet import UNetDenoiser

__all__ = ["UNetDenoiser"]
