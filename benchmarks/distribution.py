"""What a step of several devices exchanges, and the efficiency to expect: counted, not measured.

    python -m benchmarks.distribution --networks wavelet --batch-per-device 2

The weights and batch statistics are counted in the networks. The time of a step on one device and
the network between devices are arguments: what comes out is only as good as they are.
"""

import argparse
import json
from typing import Any, NamedTuple

from benchmarks.thesis_networks import experiment

DEVICES = (1, 2, 4, 8, 16, 32, 64)
_FLOAT_BYTES = 4
# Losses, gradient norms and the mark of skipped steps.
_SCALARS = 16


class Exchange(NamedTuple):
    """What each device contributes to the sums of a step.

    Attributes:
        gradient_bytes: Gradients of all trained networks, float32.
        statistics_bytes: Sums of synchronised batch statistics, forward and backward.
        collectives: Number of separate sums.
    """

    gradient_bytes: int
    statistics_bytes: int
    collectives: int


def count_exchange(config: Any) -> Exchange:
    """Build the networks of an experiment and count what a step of them exchanges."""
    from medusis_tf.layers.spade import BatchStatistics
    from medusis_tf.methods.med_usis.networks import build_networks

    networks = build_networks(config, synchronized=True)
    trained = [networks[name] for name in ("generator", "segmenter", "discriminator")]
    weights = sum(int(network.count_params()) for network in trained)
    state = sum(
        int(weight.value.shape.num_elements())
        for network in trained
        for weight in network.non_trainable_weights
    )
    channels = [
        int(layer.moving_mean.shape[0])
        for layer in networks["generator"]._flatten_layers()
        if isinstance(layer, BatchStatistics)
    ]
    # Mean and, after it, variance of each channel; in the backward pass both gradients in one sum.
    return Exchange(
        _FLOAT_BYTES * (weights - state),
        _FLOAT_BYTES * 4 * sum(channels),
        len(trained) + 3 * len(channels) + _SCALARS,
    )


def efficiency(
    exchange: Exchange, devices: int, step_seconds: float, bytes_per_second: float, latency: float
) -> float:
    """Speed per device as a fraction of that of one device alone.

    Sums travel in a ring: each device sends `2 (N - 1) / N` of their bytes. Nothing is computed in
    the meantime, as in TensorFlow, which sums the gradients after the last one is known.
    """
    size = exchange.gradient_bytes + exchange.statistics_bytes
    sent = 2 * (devices - 1) / devices * size
    waiting = 0.0 if devices == 1 else exchange.collectives * latency
    return step_seconds / (step_seconds + sent / bytes_per_second + waiting)


def pipeline_limit(batch_per_device: int, step_seconds: float, milliseconds: float) -> float:
    """Cores per device that the input pipeline needs, at a time per sample on one core."""
    return batch_per_device * milliseconds / 1000 / step_seconds


def main() -> None:
    """Print counts and expected efficiency as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="wavelet")
    parser.add_argument("--batch-per-device", type=int, default=2)
    parser.add_argument("--step-seconds", type=float, default=0.11)
    parser.add_argument("--gigabytes-per-second", type=float, nargs="+", default=[200, 20, 10, 1])
    parser.add_argument("--latency-microseconds", type=float, default=50)
    parser.add_argument("--sample-milliseconds", type=float, default=0.45)
    options = parser.parse_args()
    exchange = count_exchange(experiment(options.networks))
    table = {
        f"{rate:g} GB/s": {
            devices: round(
                efficiency(
                    exchange,
                    devices,
                    options.step_seconds,
                    1e9 * rate,
                    1e-6 * options.latency_microseconds,
                ),
                3,
            )
            for devices in DEVICES
        }
        for rate in options.gigabytes_per_second
    }
    cores = pipeline_limit(
        options.batch_per_device, options.step_seconds, options.sample_milliseconds
    )
    print(json.dumps({**exchange._asdict(), "efficiency": table, "cores": cores}, indent=2))


if __name__ == "__main__":
    main()
