"""Overrides of the quickstart configuration for the smallest networks and two steps."""

SMALLEST = [
    "data.image_size=[32, 32]",
    "generator={base_channels: 2, noise_dim: 4, num_blocks: 2, spade_channels: 4}",
    "discriminator={base_channels: 4, max_channels: 8}",
    "segmenter={base_channels: 2, num_levels: 2}",
    "training.steps=2",
    "training.r1.interval=1",
    "training.ema.refresh_batches=1",
]
