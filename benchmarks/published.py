"""Time and memory of the published PyTorch code, measured once on another machine.

Settings: two idle cores, tuned allocator, 256x256, 31 classes, batch 1, float32. That machine
reached 430 GFLOP/s in matrix products, and 425 to 443 in a 3x3 convolution with gradients. The
plain ratio compares the measured times. The scaled ratio assumes that time is inversely
proportional to the convolution peak.
"""

WAVELET_STEP_SECONDS = 6.7
WAVELET_STEP_GIGABYTES = 4.7
WAVELET_SLICE_SECONDS = 0.51
# Its OASIS generator was 10 % to 40 % slower; only untuned times are available (9.4 for 9.0).
OASIS_SLICE_SECONDS = (0.56, 0.71)
CONV_GFLOP_PER_SECOND = 430.0


def compare(published: float, seconds: float, conv_peak: float) -> dict[str, float]:
    """Speed relative to the published code, plain and scaled to one convolution peak.

    Args:
        published: Seconds of the published code on that machine.
        seconds: Seconds of this code on this machine.
        conv_peak: Convolution peak of this machine in float32, GFLOP/s.
    """
    ratio = published / seconds
    return {
        "published_seconds": published,
        "times_published_plain": ratio,
        "times_published_scaled_by_conv_peak": ratio * CONV_GFLOP_PER_SECOND / conv_peak,
    }
