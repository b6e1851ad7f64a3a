import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import truncnorm

from medusis_tf.serving.signatures import Endpoints, truncated_noise, write_saved_model
from tests.serving.stand_in import StandInGenerator

NUM_CLASSES, NOISE_DIM, STRIDE = 3, 8, 4


@pytest.fixture(scope="module")
def generator():
    return StandInGenerator(NUM_CLASSES)


@pytest.fixture(scope="module")
def endpoints(generator):
    return Endpoints(generator, NUM_CLASSES, (NOISE_DIM,), STRIDE)


@pytest.fixture(scope="module")
def signatures(generator, endpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_saved_model(endpoints, generator, folder)
    loaded = tf.saved_model.load(str(folder))
    yield loaded.signatures


def request(batch=2, height=8, width=12, **changes):
    label_map = np.arange(batch * height * width).reshape(batch, height, width) % NUM_CLASSES
    values = {
        "label_map": label_map.astype(np.int32),
        "seed": np.arange(2 * batch).reshape(batch, 2).astype(np.int32),
        "truncation": np.full(batch, np.inf, np.float32),
        **changes,
    }
    return {name: tf.constant(value) for name, value in values.items()}


def noise_of(seed, truncation, noise_dim=NOISE_DIM):
    seed = tf.constant(seed, tf.int32)
    return truncated_noise(seed, tf.constant(truncation, tf.float32), (noise_dim,)).numpy()


def test_inputs_and_outputs_are_named_and_dimensions_free(signatures):
    def described(specs):
        return {name: (spec.dtype, spec.shape.as_list()) for name, spec in specs.items()}

    label_map, image = (tf.int32, [None] * 3), (tf.float32, [None, None, None, 1])
    seed, truncation = (tf.int32, [None, 2]), (tf.float32, [None])
    noise = (tf.float32, [None, NOISE_DIM])
    expected = {
        "serving_default": (
            {"label_map": label_map, "seed": seed, "truncation": truncation},
            {"image": image},
        ),
        "from_noise": ({"label_map": label_map, "noise": noise}, {"image": image}),
        "draw_noise": ({"seed": seed, "truncation": truncation}, {"noise": noise}),
    }
    found = {
        name: (
            described(signature.structured_input_signature[1]),
            described(signature.structured_outputs),
        )
        for name, signature in signatures.items()
    }
    assert found == expected


@pytest.mark.parametrize("size", [(1, 4, 4), (3, 8, 12), (0, 8, 8)])
def test_saved_model_paints_what_the_generator_paints(generator, signatures, size):
    inputs = request(*size)
    image = signatures["serving_default"](**inputs)["image"]
    noise = truncated_noise(inputs["seed"], inputs["truncation"], (NOISE_DIM,))
    expected = generator(tf.one_hot(inputs["label_map"], NUM_CLASSES), noise)
    assert image.shape == (*size, 1)
    np.testing.assert_allclose(image, expected, atol=1e-6)


def test_drawing_then_painting_is_the_same_as_both_at_once(signatures):
    inputs = request()
    noise = signatures["draw_noise"](seed=inputs["seed"], truncation=inputs["truncation"])["noise"]
    image = signatures["from_noise"](label_map=inputs["label_map"], noise=noise)["image"]
    np.testing.assert_array_equal(image, signatures["serving_default"](**inputs)["image"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_map": np.full((2, 8, 12), 3, np.int32)}, "class ids from 0 to 2 only"),
        ({"label_map": np.full((2, 8, 12), -1, np.int32)}, "class ids from 0 to 2 only"),
        ({"label_map": np.zeros((2, 8, 10), np.int32)}, "must be divisible by 4"),
        ({"label_map": np.zeros((2, 0, 4), np.int32)}, "label_map is empty"),
        ({"seed": np.zeros((1, 2), np.int32)}, "must have the same batch size"),
        ({"truncation": np.ones(3, np.float32)}, "must have the same batch size"),
        ({"truncation": np.array([1, -1], np.float32)}, "truncation must be 0 or more"),
        ({"truncation": np.array([1, np.nan], np.float32)}, "truncation must be 0 or more"),
    ],
)
def test_invalid_requests_fail_with_a_message(signatures, changes, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["serving_default"](**request(**changes))


def test_a_generator_without_noise_gets_none():
    endpoints = Endpoints(StandInGenerator(NUM_CLASSES), NUM_CLASSES, noise_shape=(0,), stride=1)
    image = endpoints.serving_default(**request())["image"]
    assert endpoints.draw_noise(seed=[[1, 2]], truncation=[1.0])["noise"].shape == (1, 0)
    np.testing.assert_array_equal(image[0, 0, :3, 0], np.tanh(np.float32([0, 1 / 3, 2 / 3])))


def test_class_noise_has_a_row_for_each_class():
    generator = StandInGenerator(NUM_CLASSES)
    endpoints = Endpoints(generator, NUM_CLASSES, (NUM_CLASSES, NOISE_DIM), STRIDE)
    inputs = request()
    noise = endpoints.draw_noise(inputs["seed"], inputs["truncation"])["noise"]
    assert noise.shape == (2, NUM_CLASSES, NOISE_DIM)
    image = endpoints.from_noise(inputs["label_map"], noise)["image"]
    np.testing.assert_array_equal(endpoints.serving_default(**inputs)["image"], image)
    expected = generator(tf.one_hot(inputs["label_map"], NUM_CLASSES), noise)
    np.testing.assert_allclose(image, expected, atol=1e-6)
    other = endpoints.from_noise(inputs["label_map"], tf.add(noise, [[[0.0], [0.0], [1.0]]]))[
        "image"
    ]
    np.testing.assert_array_equal(other[..., 0] != image[..., 0], inputs["label_map"] == 2)


def test_each_example_has_its_own_truncation_of_class_noise():
    seed, truncation = tf.constant([[1, 1]] * 3), tf.constant([0.0, 1e-3, np.inf], tf.float32)
    noise = truncated_noise(seed, truncation, (NUM_CLASSES, 1000)).numpy()
    bounds = np.abs(noise).max(axis=2)
    assert np.all(bounds[0] == 0)
    assert np.all((bounds[1] > 9e-4) & (bounds[1] <= np.float32(1e-3)))
    assert np.all(bounds[2] > 2)
    # Rows are independent: the correlation of 1,000 pairs exceeds 0.1 once in 600 times.
    assert np.abs(np.corrcoef(noise[2])[np.triu_indices(NUM_CLASSES, 1)]).max() < 0.1


def test_a_seed_gives_the_same_noise_in_every_batch():
    alone = noise_of([[3, 4]], [1.5])
    np.testing.assert_array_equal(noise_of([[1, 2], [3, 4]], [0.5, 1.5])[1:], alone)
    assert not np.array_equal(noise_of([[4, 3]], [1.5]), alone)


def test_the_noise_of_a_seed_never_changes():
    # Recorded in November 2026: published images must remain reproducible from their seeds.
    expected = [-1.9125003, 0.84997642, -1.9506893]
    np.testing.assert_allclose(noise_of([[1, 0]], [np.inf], 3)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("bound", [1e-3, 0.5, 1.5, 4.0, np.inf])
def test_noise_has_the_moments_of_the_truncated_normal(bound):
    noise = noise_of([[7, 0]], [bound], 200_000)[0].astype(np.float64)
    expected = truncnorm(-bound, bound)
    assert np.abs(noise).max() <= np.float32(bound)
    # Four standard errors of the mean and of the variance; the seed is fixed.
    error = 4 / np.sqrt(noise.size)
    assert abs(noise.mean()) < error * expected.std()
    assert noise.var() == pytest.approx(expected.var(), rel=error * np.sqrt(2))
    quantiles = [0.01, 0.1, 0.5, 0.9, 0.99]
    assert np.quantile(noise, quantiles) == pytest.approx(
        expected.ppf(quantiles), abs=0.02 * expected.std()
    )


def test_each_example_has_its_own_truncation():
    noise = noise_of([[1, 1], [1, 1], [1, 1]], [0.0, 1e-3, 1e30], 1000)
    assert np.all(noise[0] == 0)
    assert np.abs(noise[1]).max() <= np.float32(1e-3)
    assert np.abs(noise[2]).max() > 2
    # The seed is the same, so the order of the values is too.
    np.testing.assert_array_equal(np.argsort(noise[1][:20]), np.argsort(noise[2][:20]))
