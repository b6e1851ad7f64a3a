import itertools

import tensorflow as tf

from medusis_tf.data.batches.record_order import Purpose, random_key
from tests.data.made_shards import plain_experiment


def test_every_seed_purpose_and_number_has_a_key_of_its_own():
    config = plain_experiment()
    keys = {
        tuple(random_key(config.model_copy(update={"seed": seed}), purpose, number).numpy())
        for seed, purpose, number in itertools.product((0, 1, 2**31 - 1), Purpose, (0, 1, 7, 2**40))
    }
    assert len(keys) == 3 * len(Purpose) * 4


def test_keys_know_no_other_state():
    config = plain_experiment()

    @tf.function
    def in_a_graph(number):
        return random_key(config, Purpose.IMAGE, number)

    tf.random.set_seed(1)
    first = random_key(config, Purpose.IMAGE, tf.constant(5))
    tf.random.set_seed(2)
    tf.debugging.assert_equal(random_key(config, Purpose.IMAGE, tf.constant(5)), first)
    tf.debugging.assert_equal(in_a_graph(tf.constant(5)), first)
