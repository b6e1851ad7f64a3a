import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.pixel_noise import unit_fields
from medusis_tf.methods.distribution import mirrored
from medusis_tf.models.generators.oasis import OASISGenerator
from medusis_tf.models.generators.transformer import TransformerGenerator
from medusis_tf.models.generators.wavelet import WaveletGenerator
from tests.layer_checks import check_contract

GENERATORS = [OASISGenerator, WaveletGenerator, TransformerGenerator]


def make_generator(generator_class, **settings):
    small = {"base_channels": 2, "noise_dim": 5, "num_blocks": 3, "spade_channels": 6}
    if generator_class is TransformerGenerator:
        small |= {"transformer_finest": 2, "attention_window": 4, "attention_heads": 2}
    return generator_class(4, **{**small, **settings})


def draw_labels(height=16, width=24, batch=2):
    ids = np.random.default_rng(1).integers(4, size=(batch, height, width))
    return np.eye(4, dtype="float32")[ids]


def draw_noise(batch=2):
    return np.random.default_rng(0).standard_normal((batch, 5)).astype("float32")


def draw_class_noise(batch=2):
    return np.random.default_rng(0).standard_normal((batch, 4, 5)).astype("float32")


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_contract(generator_class, tmp_path):
    check_contract(
        lambda **kwargs: make_generator(generator_class, image_channels=2, **kwargs),
        draw_labels(),
        draw_noise(),
        output_shape=(2, 16, 24, 2),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_contract_without_noise(generator_class, tmp_path):
    check_contract(
        lambda **kwargs: make_generator(generator_class, noise_dim=0, **kwargs),
        draw_labels(),
        output_shape=(2, 16, 24, 1),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_contract_with_class_noise(generator_class, tmp_path):
    check_contract(
        lambda **kwargs: make_generator(generator_class, class_noise=True, **kwargs),
        draw_labels(),
        draw_class_noise(),
        output_shape=(2, 16, 24, 1),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_noise_shape_of_one_image(generator_class):
    assert make_generator(generator_class).noise_shape == (5,)
    assert make_generator(generator_class, class_noise=True).noise_shape == (4, 5)
    assert make_generator(generator_class, noise_dim=0).noise_shape is None


@pytest.mark.parametrize(
    "generator_class, stride",
    [(OASISGenerator, 4), (TransformerGenerator, 4), (WaveletGenerator, 8)],
)
def test_the_smallest_label_map_has_the_size_of_one_stride(generator_class, stride):
    generator = make_generator(generator_class)
    assert generator.stride == stride
    assert generator(draw_labels(stride, stride), draw_noise()).shape == (2, stride, stride, 1)


@pytest.mark.parametrize(
    "generator_class, plan",
    [
        (OASISGenerator, "channel_plan"),
        (TransformerGenerator, "channel_plan"),
        (WaveletGenerator, "band_plan"),
    ],
)
def test_default_channels_equal_those_published(generator_class, plan):
    assert getattr(generator_class(4), plan) == [1024, 1024, 1024, 512, 256, 128, 64]


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_image_values_are_between_minus_one_and_one(generator_class):
    generator = make_generator(generator_class)
    generator(draw_labels(), draw_noise())
    for weight in generator.trainable_variables:
        weight.assign(10 * weight)
    image = generator(draw_labels(), draw_noise())
    assert np.abs(image).max() <= 1


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_background_is_air_and_the_rest_is_unchanged(generator_class):
    plain = make_generator(generator_class)
    airy = make_generator(generator_class, air_background=True)
    one_hot, noise = draw_labels(), draw_noise()
    for generator in (plain, airy):
        generator(one_hot, noise)
    airy.set_weights(plain.get_weights())
    images = [np.asarray(generator(one_hot, noise)) for generator in (plain, airy)]
    background = np.asarray(one_hot)[..., :1] > 0
    assert background.any() and not background.all()
    np.testing.assert_array_equal(images[1], np.where(background, -1, images[0]))
    assert type(airy).from_config(airy.get_config()).air_background


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_the_noise_scale_holds_outside_training_and_leaves_the_fields(generator_class):
    plain, scaled = (
        make_generator(generator_class, pixel_noise=True, noise_scale=scale) for scale in (1, 0.25)
    )
    one_hot, noise = draw_labels(), draw_noise()
    for generator in (plain, scaled):
        generator(one_hot, noise)
    scaled.set_weights(plain.get_weights())
    # Without the weights of the fields, only the vector counts.
    expected = np.asarray(plain(one_hot, 0.25 * noise))
    np.testing.assert_allclose(scaled(one_hot, noise), expected, atol=1e-6)
    trained = [np.asarray(each(one_hot, noise, training=True)) for each in (plain, scaled)]
    np.testing.assert_allclose(*trained, atol=1e-6)
    for generator in (plain, scaled):
        for layer in generator.pixel_noises:
            layer.scale.assign(tf.ones_like(layer.scale))
            layer.draw = lambda _, *size: unit_fields(noise, *size)
    # The vector is the same: what differs is that the fields of `plain` are weaker.
    weaker = np.abs(plain(one_hot, 0.25 * noise) - expected).mean()
    assert np.abs(scaled(one_hot, noise) - expected).mean() > 2 * weaker
    assert type(scaled).from_config(scaled.get_config()).noise_scale == 0.25


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_noise_changes_the_image(generator_class):
    generator = make_generator(generator_class)
    first = generator(draw_labels(), draw_noise())
    assert np.any(first != generator(draw_labels(), draw_noise() + 1))


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_class_noise_with_equal_rows_equals_image_noise(generator_class):
    plain = make_generator(generator_class)
    expected = plain(draw_labels(), draw_noise())
    with_class_noise = make_generator(generator_class, class_noise=True)
    with_class_noise(draw_labels(), draw_class_noise())
    with_class_noise.set_weights(plain.get_weights())
    image = with_class_noise(draw_labels(), np.repeat(draw_noise()[:, None], 4, axis=1))
    np.testing.assert_allclose(image, expected, atol=1e-5)


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_the_noise_of_an_absent_class_has_no_effect(generator_class):
    generator = make_generator(generator_class, class_noise=True)
    labels = np.eye(4, dtype="float32")[np.random.default_rng(1).integers(3, size=(2, 16, 24))]
    noise = draw_class_noise()
    before = generator(labels, noise)
    noise[:, 3] += 1
    np.testing.assert_array_equal(generator(labels, noise), before)
    noise[:, 2] += 1
    assert np.any(generator(labels, noise) != before)


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_export_with_unknown_batch_and_size(generator_class):
    generator = make_generator(generator_class)
    expected = generator(draw_labels(), draw_noise())

    @tf.function(input_signature=[tf.TensorSpec([None] * 3, tf.int32), tf.TensorSpec([None, 5])])
    def synthesize(label_map, noise):
        return generator(tf.one_hot(label_map, 4), noise)

    label_map = draw_labels().argmax(-1).astype("int32")
    np.testing.assert_allclose(synthesize(label_map, draw_noise()), expected, atol=1e-6)
    assert synthesize(label_map[:1, :8, :8], draw_noise(1)).shape == (1, 8, 8, 1)


@pytest.mark.parametrize("generator_class", GENERATORS)
@pytest.mark.parametrize(
    "one_hot, noise, message",
    [
        (draw_labels(12, 30), draw_noise(), "divisible by"),
        (draw_labels()[..., :3], draw_noise(), "num_classes=4"),
        (draw_labels(), None, r"noise_dim=5.*Received: .* None. Pass noise of shape .batch, 5"),
        (draw_labels(), draw_noise()[:, :4], r"noise_dim=5.*Received: .*\(2, 4\)"),
        (draw_labels(), draw_class_noise(), "class_noise=False"),
    ],
    ids=["size", "classes", "no noise", "noise_dim", "class noise"],
)
def test_invalid_inputs_are_rejected(generator_class, one_hot, noise, message):
    with pytest.raises(ValueError, match=message):
        make_generator(generator_class)(one_hot, noise)


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_noise_of_another_shape_is_rejected(generator_class):
    with_class_noise = make_generator(generator_class, class_noise=True)
    for noise in (draw_noise(), None, draw_class_noise()[:, :3]):
        with pytest.raises(ValueError, match=r"Pass noise of shape \(batch, 4, 5\)"):
            with_class_noise(draw_labels(), noise)
    with pytest.raises(ValueError, match="Pass noise None"):
        make_generator(generator_class, noise_dim=0)(draw_labels(), draw_noise())
    with pytest.raises(ValueError, match="class_noise needs noise"):
        make_generator(generator_class, noise_dim=0, class_noise=True)


@pytest.mark.parametrize("generator_class", GENERATORS)
def test_two_synchronized_replicas_compute_equal_images(generator_class):
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        generator = make_generator(generator_class, synchronized=True)
        generator(draw_labels(), draw_noise())

    @tf.function
    def step():
        return strategy.run(lambda: generator(draw_labels(), draw_noise(), training=True))

    first, second = strategy.experimental_local_results(step())
    np.testing.assert_allclose(first, second, atol=1e-6)
