"""What the published PyTorch code takes, as measured once on another machine.

Alone on two cores with its allocator tuned, 256x256, 31 classes, batch 1, float32. That machine did
430 GFLOP/s in matrix products, and 425 to 443 in a 3x3 convolution with gradients. The plain ratio
compares the times as they are; the scaled one what they would be if time went with the peak of
convolutions.
"""

WAVELET_STEP_SECONDS = 6.7
WAVELET_STEP_GIGABYTES = 4.7
WAVELET_SLICE_SECONDS = 0.51
# Its OASIS generator was 10 % to 40 % slower; only untuned figures are on record (9.4 for 9.0).
OASIS_SLICE_SECONDS = (0.56, 0.71)
CONV_GFLOP_PER_SECOND = 430.0


def compare(published: float, seconds: float, conv_peak: float) -> dict[str, float]:
    """How many times as fast, plain and scaled to one convolution peak.

    Args:
        published: Seconds on that machine.
        seconds: Of ours, on this one.
        conv_peak: Of this machine in float32, GFLOP/s.
    """
    ratio = published / seconds
    return {
        "published_seconds": published,
        "times_published_plain": ratio,
        "times_published_scaled_by_conv_peak": ratio * CONV_GFLOP_PER_SECOND / conv_peak,
    }
