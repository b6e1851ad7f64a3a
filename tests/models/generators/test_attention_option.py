"""Attention as an option of the generators."""

import keras
import numpy as np
import pytest

from medusis_tf.layers.attention import AttentionBlock
from medusis_tf.layers.generator_blocks import SPADEBlock
from medusis_tf.layers.transformer_blocks import TransformerStage
from medusis_tf.models.generators.oasis import OASISGenerator
from medusis_tf.models.generators.transformer import TransformerGenerator
from medusis_tf.models.generators.wavelet import WaveletGenerator
from tests.layer_checks import check_contract
from tests.models.generators.test_generators import draw_labels, draw_noise, make_generator

SIZES = {OASISGenerator: [4, 1], WaveletGenerator: [4, 2]}
GENERATORS = list(SIZES)


def with_attention(generator_class, **settings):
    sizes = {"attention": SIZES[generator_class], "attention_window": 4, "attention_heads": 2}
    return make_generator(generator_class, **{**sizes, **settings})


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_contract(generator_class, tmp_path):
    check_contract(
        lambda **kwargs: with_attention(generator_class, **kwargs),
        draw_labels(),
        draw_noise(),
        output_shape=(2, 16, 24, 1),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_a_new_generator_with_attention_paints_as_one_without(generator_class):
    images = []
    for make in (make_generator, with_attention):
        keras.utils.set_random_seed(0)
        images.append(make(generator_class, pixel_noise=True)(draw_labels(), draw_noise()))
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_attention_has_the_chosen_sizes(generator_class, monkeypatch):
    generator, found = with_attention(generator_class), []
    generator(draw_labels(), draw_noise())
    call = AttentionBlock.call

    def remember(self, features, training=False):
        found.append(16 // features.shape[1])
        return call(self, features, training)

    monkeypatch.setattr(AttentionBlock, "call", remember)
    generator(draw_labels(), draw_noise())
    assert found == SIZES[generator_class]


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_no_attention_by_default(generator_class):
    generator = make_generator(generator_class)
    generator(draw_labels(), draw_noise())
    assert generator.attentions == []
    assert not [weight.path for weight in generator.weights if "attention" in weight.path]


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_a_size_that_no_block_has_is_rejected(generator_class):
    with pytest.raises(ValueError, match=r"attention must be some of \[.*\]. Received: \[32\]"):
        make_generator(generator_class, attention=[32])


@pytest.mark.parametrize(("finest", "stages"), [(4, 1), (2, 2), (1, 3)])
def test_a_transformer_has_spade_blocks_above_its_finest_features(finest, stages):
    generator = make_generator(TransformerGenerator, transformer_finest=finest)
    kinds = [type(block) for block in generator.blocks]
    assert kinds == [TransformerStage] * stages + [SPADEBlock] * (3 - stages)
    assert [block.name for block in generator.blocks] == ["block_0", "block_1", "block_2"]
