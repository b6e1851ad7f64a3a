"""Multiply-add counts match published values and manual counts."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.arithmetic import (
    attention_layers,
    count,
    discriminator_layers,
    generator_layers,
    segmenter_layers,
)
from benchmarks.label_maps import has_mixed_neighbourhood, made_label_maps
from benchmarks.step_arithmetic import network_counts, step_counts
from benchmarks.thesis_networks import experiment
from medusis_tf.layers.attention import WindowAttention
from medusis_tf.models.discriminator_sections import WaveletDiscriminatorConfig
from medusis_tf.models.sections import (
    OASISGeneratorConfig,
    TransformerGeneratorConfig,
    UNetSegmenterConfig,
    WaveletGeneratorConfig,
)

# Published: 256x256, 38 classes, 3 channels. The wavelet generator here lacks 1,577,408 unused
# weights of the published one.
PUBLISHED = {
    "wavelet": (44.1e9, 54_226_476),
    "oasis": (160.2e9, 71_190_467),
    "segmenter": (48.4e9, 22_251_559),
    "discriminator": (21.1e9, 26_211_073),
}


def layers_and_weights(name, label_maps):
    if name == "segmenter":
        network = UNetSegmenterConfig().build(38, 3)
        layers = segmenter_layers(network, (256, 256))
    elif name == "discriminator":
        network = WaveletDiscriminatorConfig().build((256, 256), 3)
        layers = discriminator_layers(network)
    else:
        section = {"wavelet": WaveletGeneratorConfig, "oasis": OASISGeneratorConfig}[name]
        network = section(name=name).build(38, 3, synchronized=False)
        layers = generator_layers(network, label_maps)
    return layers, sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


@pytest.mark.parametrize("name", PUBLISHED)
def test_plain_formulas_and_weights_are_as_published(name):
    macs, weights = PUBLISHED[name]
    layers, found_weights = layers_and_weights(name, made_label_maps(256, 38, 1))
    assert count(layers, "plain") == pytest.approx(macs, rel=0.01)
    assert found_weights == weights


def tiny_generator(kind):
    sections = {
        "wavelet": WaveletGeneratorConfig,
        "oasis": OASISGeneratorConfig,
        "transformer": TransformerGeneratorConfig,
    }
    settings = {"base_channels": 2, "num_blocks": 3, "spade_channels": 4, "noise_dim": 4}
    return sections[kind](name=kind, **settings).build(5, 1, synchronized=False)


@pytest.mark.parametrize("kind", ["wavelet", "oasis", "transformer"])
def test_a_generator_needs_less_for_a_label_map_of_one_class(kind):
    generator = tiny_generator(kind)
    plain, varied = np.zeros((1, 64, 64), np.uint8), made_label_maps(64, 5, 1)
    costs = [count(generator_layers(generator, maps)) for maps in (plain, varied)]
    dense = count(generator_layers(generator, varied), "plain")
    assert costs[0] < costs[1] < dense


def test_spade_cost_is_the_number_of_distinct_neighbourhoods():
    generator = tiny_generator("oasis")
    label_map = np.zeros((1, 32, 32), np.uint8)
    label_map[0, 16, 16] = 3
    layers = {layer.name: layer for layer in generator_layers(generator, label_map)}
    last = layers["block_2/norm_0/gamma_beta"]
    # Nine positions of the dot, and nine positions relative to the border including the interior.
    rows = 9 + 9
    channels = generator.blocks[2].conv_0.kernel.shape[2]
    assert last.needed == 9 * rows * 4 * 2 * channels
    assert last.plain == 9 * 32**2 * 4 * 2 * channels
    assert layers["block_2/norm_0/shared"].needed == 0


def test_attention_needs_the_pairs_of_pixels_that_share_a_window():
    attention = WindowAttention(num_heads=2, window=4, shift=1)
    attention.build((None, None, None, 6))
    layers = {layer.name: layer for layer in attention_layers(attention, (5, 8), "a")}
    cells = Counter(((y - 1) // 4, (x - 1) // 4) for y in range(5) for x in range(8))
    pairs = sum(count**2 for count in cells.values())
    assert layers["a/products"].needed == 2 * pairs * 6
    assert layers["a/products"].plain == 2 * 4 * 16**2 * 6  # four windows of 16 pixels
    assert layers["a/query"].needed == 40 * 6 * 6


def test_convolutions_next_to_pooling_and_upsampling_take_16_taps():
    segmenter = UNetSegmenterConfig(base_channels=2, num_levels=3).build(5, 1)
    layers = {layer.name: layer for layer in segmenter_layers(segmenter, (32, 32))}
    shares = {name: layer.needed / layer.plain for name, layer in layers.items()}
    assert shares["encoder_1/conv_1"] == shares["decoder_1/conv_2"] == 1
    assert shares["encoder_1/conv_2"] == shares["decoder_1/conv_1"] == pytest.approx(16 / 36)


def test_the_gradient_of_the_image_is_optional():
    layers = discriminator_layers(WaveletDiscriminatorConfig(base_channels=4).build((32, 32), 1))
    first = sum(layer.plain for layer in layers if layer.reads == "image")
    without = count(layers, forward=0, by_input=1)
    assert count(layers, forward=0, by_input=1, image_gradient=True) - without == first > 0


def test_neighbourhoods_are_5_by_5_with_padding():
    label_map = np.zeros((1, 9, 12), np.uint8)
    label_map[0, :, 6:] = 1
    expected = np.ones((9, 12), bool)
    expected[2:7, 2:4] = expected[2:7, 8:10] = False
    np.testing.assert_array_equal(has_mixed_neighbourhood(label_map)[0], expected)


def test_the_published_schedule_needs_more_than_ours():
    label_maps = made_label_maps(32, 5, 1)
    counts = {}
    for preset in ("default", "thesis"):
        config = experiment("tiny_wavelet", 32, 5, preset=preset)
        model = SimpleNamespace(
            config=config,
            generator=config.generator.build(5, 1, False),
            segmenter=config.segmenter.build(5, 1),
            discriminator=config.discriminator.build((32, 32), 1),
        )
        counts[preset] = step_counts(model, label_maps)
        forward = network_counts(model, label_maps, "needed")
    difference = {
        part: counts["thesis"][part] - counts["default"][part] for part in counts["thesis"]
    }
    # New images for segmenter and discriminator; R1 runs the discriminator once more.
    assert difference["generator"] == pytest.approx(2 * forward["generator"])
    assert difference["discriminator_synthetic"] == pytest.approx(forward["discriminator"])
    assert difference["r1"] == pytest.approx(forward["discriminator"])
    assert forward["segmenter"] < difference["segmenter"] < 2 * forward["segmenter"]
