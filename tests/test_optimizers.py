import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.methods.distribution import mirrored
from medusis_tf.optimizers import MIN_SIZE, Adam, ema_decay, update_average
from medusis_tf.runs.checkpoints import optimizer_state

# Only the first is large enough to be updated in one pass.
SHAPES = [(257, MIN_SIZE // 256), (3, 3, 2), (5,)]


def gradients(seed, shapes=SHAPES):
    """Gradients of very different magnitudes. Some values of each are 0."""
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=shape) * 10.0 ** rng.uniform(-6, 1, shape) for shape in shapes]
    return [tf.constant(np.where(np.abs(value) < 1e-5, 0, value), tf.float32) for value in values]


def new_variables(dtype="float32"):
    rng = np.random.default_rng(0)
    return [keras.Variable(rng.normal(size=shape), dtype=dtype) for shape in SHAPES]


def built(optimizer, variables):
    optimizer.build(variables)
    return optimizer


def take_steps(optimizer, variables, seeds):
    apply = tf.function(lambda *grads: optimizer.apply(grads, variables), autograph=False)
    for seed in seeds:
        apply(*gradients(seed))
    return [tf.cast(variable.value, tf.float32).numpy() for variable in variables]


@pytest.mark.parametrize("beta_1", [0.0, 0.5])
def test_weights_of_two_dtypes_take_the_same_steps_as_alone(beta_1):
    dtypes, rng = ("float32", "bfloat16"), np.random.default_rng(0)
    gradient = tf.constant(rng.normal(size=5), tf.float32)

    def updated(dtypes):
        variables = [keras.Variable(np.ones(5), dtype=dtype) for dtype in dtypes]
        optimizer = built(Adam(0.1, beta_1), variables)
        optimizer.apply([gradient] * len(variables), variables)
        return [tf.cast(each.value, tf.float32).numpy() for each in variables]

    alone = [updated([dtype])[0] for dtype in dtypes]
    np.testing.assert_array_equal(updated(dtypes), alone)


@pytest.mark.parametrize("beta_1", [0.0, 0.5])
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 2e-6), ("bfloat16", 1e-2)])
def test_steps_equal_those_of_adam_in_keras(beta_1, dtype, rtol):
    settings = {"learning_rate": 0.01, "beta_1": beta_1, "beta_2": 0.99, "epsilon": 1e-8}
    ours, theirs = new_variables(dtype), new_variables(dtype)
    values = take_steps(built(Adam(**settings), ours), ours, range(5))
    expected = take_steps(built(keras.optimizers.Adam(**settings), theirs), theirs, range(5))
    for value, oracle in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, oracle, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("beta_1", "moments"), [(0.0, 1), (0.5, 2)])
def test_a_beta_1_of_zero_needs_no_first_moment(beta_1, moments):
    variables = new_variables()
    optimizer = built(Adam(beta_1=beta_1), variables)
    sizes = sum(variable.shape.num_elements() for variable in optimizer.variables[2:])
    assert sizes == moments * sum(np.prod(shape) for shape in SHAPES)


@pytest.mark.parametrize("beta_1", [0.0, 0.5])
def test_a_resumed_optimizer_takes_the_same_steps(beta_1, tmp_path):
    uninterrupted = new_variables()
    optimizer = built(Adam(beta_1=beta_1), uninterrupted)
    expected = take_steps(optimizer, uninterrupted, range(6))

    before, after = new_variables(), new_variables()
    first, second = (built(Adam(beta_1=beta_1), values) for values in (before, after))
    for variable, value in zip(after, take_steps(first, before, range(3)), strict=True):
        variable.assign(value)
    path = tf.train.Checkpoint(state=optimizer_state(first)).write(str(tmp_path / "state"))
    restored = tf.train.Checkpoint(state=optimizer_state(second)).read(path)
    restored.assert_consumed()
    for value, oracle in zip(take_steps(second, after, range(3, 6)), expected, strict=True):
        np.testing.assert_array_equal(value, oracle)


@pytest.mark.parametrize("beta_1", [0.0, 0.5])
def test_two_replicas_apply_the_sum_of_their_gradients(beta_1):
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        shared = new_variables()
        optimizer = built(Adam(beta_1=beta_1), shared)

    def step():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        fraction = tf.cast(replica, tf.float32) * 0.5 + 0.25
        optimizer.apply([fraction * gradient for gradient in gradients(0)], shared)

    tf.function(lambda: strategy.run(step), autograph=False)()
    alone = new_variables()
    expected = take_steps(built(Adam(beta_1=beta_1), alone), alone, [0])
    for variable, oracle in zip(shared, expected, strict=True):
        for copy in strategy.experimental_local_results(variable.value):
            np.testing.assert_allclose(copy.numpy(), oracle, rtol=1e-6)


def test_a_sparse_gradient_of_two_replicas_counts_once_for_each():
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        table = keras.Variable(np.ones((4, 2), np.float32))
        unused = keras.Variable(np.ones(3, np.float32))
        optimizer = Adam(0.1, beta_1=0.0)
        optimizer.build([table, unused])

    @tf.function(autograph=False)
    def step():
        def descend():
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(tf.gather(table.value, [1, 1, 3]))
            gradients = tape.gradient(total, [table.value, unused.value])
            assert isinstance(gradients[0], tf.IndexedSlices) and gradients[1] is None
            optimizer.apply(gradients, [table, unused])

        strategy.run(descend)

    with pytest.warns(UserWarning, match="Gradients do not exist for variables"):
        step()
    np.testing.assert_allclose(table, [[1, 1], [0.9, 0.9], [1, 1], [0.9, 0.9]], atol=1e-4)
    np.testing.assert_array_equal(unused, np.ones(3))


@pytest.mark.parametrize("options", [{"weight_decay": 0.1}, {"gradient_accumulation_steps": 2}])
def test_options_that_keras_applies_outside_of_a_condition_are_refused(options):
    with pytest.raises(ValueError, match=f"Adam has no {next(iter(options))}. Received: "):
        Adam(**options)


def test_a_sparse_gradient_changes_only_its_rows():
    table = keras.Variable(np.zeros([3, 2]))
    optimizer = built(Adam(0.1, beta_1=0.0), [table])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(table.value, [1]))
    optimizer.apply([tape.gradient(loss, table.value)], [table])
    np.testing.assert_allclose(table.numpy(), [[0, 0], [-0.1, -0.1], [0, 0]], rtol=1e-5)


def test_a_serialized_optimizer_is_found_by_its_registered_name():
    values = keras.optimizers.serialize(Adam(0.2, beta_1=0.3))
    assert values["registered_name"] == "medusis_tf>Adam"
    assert isinstance(keras.optimizers.deserialize(values), Adam)


def test_the_configuration_creates_an_equal_optimizer():
    optimizer = Adam(0.1, 0.2, 0.3, 0.4, name="mine")
    config = Adam.from_config(optimizer.get_config()).get_config()
    assert config == optimizer.get_config()
    named = {key: config[key] for key in ("name", "beta_1", "beta_2", "epsilon")}
    assert named == {"name": "mine", "beta_1": 0.2, "beta_2": 0.3, "epsilon": 0.4}
    assert config["learning_rate"] == pytest.approx(0.1)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.1), (90, 0.91), (10**6, 0.99)])
def test_warm_up_limits_the_decay_of_early_steps(step, expected):
    assert float(ema_decay(tf.constant(step), 0.99, warm_up=True)) == pytest.approx(expected)
    assert float(ema_decay(tf.constant(step), 0.99, warm_up=False)) == pytest.approx(0.99)


def test_weights_are_averaged_and_state_is_copied():
    def network():
        return keras.Sequential([keras.Input([3]), keras.layers.BatchNormalization()])

    average, other = network(), network()
    average.set_weights([np.zeros(3), np.zeros(3), np.zeros(3), np.ones(3)])
    other.set_weights([np.full(3, 10.0), np.full(3, 10.0), np.full(3, 5.0), np.full(3, 7.0)])
    update_average(average, other, tf.constant(0.9))
    gamma, beta, mean, variance = average.get_weights()
    np.testing.assert_allclose([gamma, beta], 1.0, rtol=1e-6)
    np.testing.assert_array_equal(mean, 5.0)
    np.testing.assert_array_equal(variance, 7.0)


def test_large_weights_of_all_replicas_are_averaged():
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        average, other = (
            keras.Sequential([keras.Input([257]), keras.layers.Dense(256)]) for _ in "ab"
        )
    average.set_weights([np.zeros([257, 256]), np.zeros(256)])
    other.set_weights([np.full([257, 256], 10.0), np.full(256, 5.0)])
    tf.function(lambda: update_average(average, other, tf.constant(0.9)), autograph=False)()
    for weight, expected in zip(average.trainable_weights, (1.0, 0.5), strict=True):
        for copy in strategy.experimental_local_results(weight.value):
            np.testing.assert_allclose(copy.numpy(), expected, rtol=1e-6)
