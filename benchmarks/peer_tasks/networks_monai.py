"""MONAI's SPADE networks and its patch discriminator, for `benchmarks.peers`.

Runs in the environment of the peers.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import PatchDiscriminator
from monai.networks.nets.spade_network import SPADEDecoder, SPADENetResBlock
from torch import nn
from torch.nn import functional

from benchmarks.peer_worker import Task
from benchmarks.roofline import CONVOLUTIONS


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Task], dict[str, Any]]:
    """Build the networks, and read the label maps.

    Args:
        settings: Values of `benchmarks.peer_cases.SIZES`, and the `folder` of shared files.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    maps = np.load(Path(settings["folder"], "label_maps.npy")).astype(np.int64)
    one_hot = functional.one_hot(torch.from_numpy(maps), settings["classes"])
    one_hot = one_hot.permute(0, 3, 1, 2).float().contiguous()
    tasks: dict[str, Task] = {"convolutions": convolutions()}
    weights = {}
    for kind, build in (("spade", SPADEGenerator), ("decoder", decoder)):
        generator = build(settings)
        for count in settings["batch_sizes"]:
            tasks[f"{kind}_{count}"] = partial(paint, generator, one_hot[:count])
        tasks[f"{kind}_step"] = training_step(
            build(settings), one_hot[: settings["batch_size"]], settings
        )
        weights[kind] = million_weights(generator)
    weights["PatchDiscriminator"] = million_weights(build_discriminator(settings))
    return tasks, {"million_weights": weights, "torch": torch.__version__}


def channel_plan(settings: dict[str, Any]) -> list[int]:
    """Channels before the first block and after each block, as in our generators."""
    blocks, base = settings["generator"]["num_blocks"], settings["generator"]["base_channels"]
    return [base * min(16, 2 ** (blocks - index)) for index in range(blocks + 1)]


class SPADEGenerator(nn.Module):
    """MONAI's SPADE blocks, one for each resolution up to that of the image.

    Args:
        settings: As for `prepare`.
    """

    def __init__(self, settings: dict[str, Any]):
        super().__init__()
        plan, classes = channel_plan(settings), settings["classes"]
        hidden = settings["generator"]["spade_channels"]
        self.side = settings["side"] // 2 ** (len(plan) - 2)
        self.stem = Convolution(2, classes, plan[0], conv_only=True)
        self.blocks = nn.ModuleList(
            SPADENetResBlock(2, plan[index], plan[index + 1], classes, hidden)
            for index in range(len(plan) - 1)
        )
        self.to_image = Convolution(2, plan[-1], 1, conv_only=True)

    def forward(self, one_hot: torch.Tensor) -> torch.Tensor:
        """`[batch, classes, height, width]` to `[batch, 1, height, width]`."""
        features = self.stem(functional.interpolate(one_hot, size=(self.side, self.side)))
        for index, block in enumerate(self.blocks):
            if index > 0:
                features = functional.interpolate(features, scale_factor=2)
            features = block(features, one_hot)
        return torch.tanh(self.to_image(functional.leaky_relu(features, 0.2)))


def decoder(settings: dict[str, Any]) -> nn.Module:
    """MONAI's SPADEDecoder without latent vector, up to half the resolution as ours.

    Its last block, at half the resolution, has one channel.
    """
    side = settings["side"]
    return SPADEDecoder(
        spatial_dims=2,
        out_channels=1,
        label_nc=settings["classes"],
        input_shape=[side, side],
        channels=channel_plan(settings)[:-2],
        is_vae=False,
        spade_intermediate_channels=settings["generator"]["spade_channels"],
        last_act="TANH",
    )


def build_discriminator(settings: dict[str, Any]) -> nn.Module:
    """MONAI's PatchDiscriminator, with the channels of ours."""
    sizes = settings["discriminator"]
    return PatchDiscriminator(
        2, sizes["base_channels"], in_channels=1, num_layers_d=sizes["num_strided"]
    )


def paint(generator: nn.Module, one_hot: torch.Tensor) -> None:
    """Synthesize images."""
    generator.eval()
    with torch.inference_mode():
        generator(one_hot).numpy()


def training_step(generator: nn.Module, one_hot: torch.Tensor, settings: dict[str, Any]) -> Task:
    """A least-squares step of a generator and its discriminator."""
    discriminator = build_discriminator(settings)
    for_generator, for_discriminator = (
        torch.optim.Adam(network.parameters(), 1e-4, betas=(0.5, 0.999))
        for network in (generator, discriminator)
    )
    image = 2 * torch.rand(len(one_hot), 1, settings["side"], settings["side"]) - 1

    def step() -> None:
        generator.train()
        for_generator.zero_grad(set_to_none=True)
        synthetic = generator(one_hot)
        fooled = torch.mean((discriminator(synthetic)[-1] - 1) ** 2)
        fooled.backward()
        for_generator.step()
        for_discriminator.zero_grad(set_to_none=True)
        seen = torch.mean((discriminator(image)[-1] - 1) ** 2)
        seen = seen + torch.mean(discriminator(synthetic.detach())[-1] ** 2)
        seen.backward()
        for_discriminator.step()
        (fooled + seen).item()

    return step


def convolutions() -> Task:
    """3x3 convolutions of the sizes of `benchmarks.roofline`, one after the other."""
    arrays = [
        (torch.randn(1, inputs, side, side), torch.randn(filters, inputs, 3, 3))
        for side, inputs, filters in CONVOLUTIONS
    ]

    def run() -> None:
        with torch.inference_mode():
            for image, kernel in arrays:
                functional.conv2d(image, kernel, padding=1).numpy()

    return run


def million_weights(network: nn.Module) -> float:
    """Number of trainable weights, in millions."""
    return sum(each.numel() for each in network.parameters()) / 1e6
