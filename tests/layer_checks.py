"""Checks that every layer and network must pass."""

import warnings

import keras
import numpy as np
import tensorflow as tf


def check_contract(make, *inputs, output_shape, tmp_path):
    """Check shape, configuration, saving, gradients and bfloat16 of one layer or model.

    Args:
        make: Function that creates the layer and passes its keyword arguments to the constructor.
        *inputs: Input arrays.
        output_shape: Shape of the output, or of each output.
        tmp_path: Folder for the saved file.
    """
    check_shape(make(), inputs, output_shape)
    check_config(make())
    check_saving(make(), inputs, tmp_path)
    check_gradients(make(), inputs)
    check_bfloat16(make(dtype="mixed_bfloat16"), inputs)


def check_shape(layer, inputs, output_shape):
    shapes = tf.nest.map_structure(lambda output: tuple(output.shape), layer(*inputs))
    assert shapes == output_shape
    if not isinstance(layer, keras.Model):
        assert layer.compute_output_shape(*(array.shape for array in inputs)) == output_shape


def check_config(layer):
    config = layer.get_config()
    assert type(layer).from_config(config).get_config() == config


def check_saving(layer, inputs, tmp_path):
    model = layer if isinstance(layer, keras.Model) else _as_model(layer, inputs)
    before = model(*inputs) if model is layer else model(list(inputs))
    reloaded = save_and_reload(model, tmp_path / "saved.keras")
    after = reloaded(*inputs) if model is layer else reloaded(list(inputs))
    for output, expected in zip(tf.nest.flatten(after), tf.nest.flatten(before), strict=True):
        np.testing.assert_array_equal(output, expected)


def save_and_reload(model, path):
    with warnings.catch_warnings():
        # Keras 3.15 causes a deprecation warning of NumPy 2.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        model.save(path)
    return keras.models.load_model(path)


def check_gradients(layer, inputs):
    layer(*inputs)
    # Weights that are zero may block the gradient of others, so give each of them a value.
    for weight in layer.trainable_variables:
        weight.assign(weight + 0.1 * keras.random.normal(weight.shape, seed=1))
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(layer(*inputs, **_training(layer)))
        total = sum(tf.reduce_sum(output * _uneven(output.shape)) for output in outputs)
    gradients = tape.gradient(total, layer.trainable_variables)
    without = [
        weight.path
        for weight, gradient in zip(layer.trainable_variables, gradients, strict=True)
        if gradient is None or not np.any(gradient)
    ]
    assert not without


def check_bfloat16(layer, inputs):
    outputs = tf.nest.flatten(layer(*inputs, **_training(layer)))
    assert all(np.isfinite(tf.cast(output, tf.float32)).all() for output in outputs)
    assert {weight.dtype for weight in layer.variables} <= {"float32"}
    expected = "float32" if isinstance(layer, keras.Model) else "bfloat16"
    assert {output.dtype.name for output in outputs} == {expected}


def _as_model(layer, inputs):
    symbols = [keras.Input(array.shape[1:], batch_size=array.shape[0]) for array in inputs]
    return keras.Model(symbols, layer(*symbols))


def _training(layer):
    return {"training": True} if layer._call_has_training_arg else {}


def _uneven(shape):
    """A fixed random pattern, so that no gradient cancels by symmetry."""
    return np.random.default_rng(0).standard_normal(shape).astype("float32")
