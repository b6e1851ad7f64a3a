"""A second method, as small as a method can be: one convolution and its moving average."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import keras
import pytest
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.yaml_files import merge
from medusis_tf.methods import experiment
from medusis_tf.methods.method import Batch, Losses, Method
from medusis_tf.methods.random_numbers import Purpose, draw_noise, step_seed
from medusis_tf.optimizers import update_average
from tests.training.tiny_experiment import CLASSES, SUBJECTS


class StubConfig(ExperimentConfig):
    method: Literal["stub"] = "stub"

    def build_method(self, shards: Any, num_replicas: int = 1) -> Method:
        return StubMethod(self, num_replicas)

    def build_painter(self) -> tuple[str, keras.Model]:
        return "average", StubPainter(self)


class StubPainter(keras.Model):
    """Convolves the one-hot label map and adds the mean of the noise."""

    stride = 2
    noise_shape = (3,)

    def __init__(self, config: StubConfig):
        super().__init__(name="painter")
        self.conv = keras.layers.Conv2D(config.data.image_channels, 3, padding="same")
        self.conv.build((None, None, None, config.data.num_classes))
        self.built = True

    def call(self, one_hot, noise=None, training=False):
        shift = 0.1 * tf.reduce_mean(noise, axis=1)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        return tf.tanh(self.conv(one_hot) + shift)


class StubMethod(Method):
    def __init__(self, config: StubConfig, num_replicas: int = 1):
        super().__init__(config, num_replicas)
        self._networks = {name: StubPainter(config) for name in ("trained", "average")}
        self._networks["average"].set_weights(self._networks["trained"].get_weights())
        rate = keras.optimizers.schedules.ExponentialDecay(0.2, 2, 0.5)
        self._optimizers = {"trained": keras.optimizers.SGD(rate)}
        self._optimizers["trained"].build(self._networks["trained"].trainable_variables)
        self.built = True

    @property
    def networks(self) -> dict[str, keras.Model]:
        return self._networks

    @property
    def network_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        return self._optimizers

    @property
    def painter(self) -> keras.Model:
        return self._networks["average"]

    def step_kind(self, step: int) -> Hashable:
        return "odd" if step % 2 else "even"

    def train_step(self, batch: Batch, kind: Hashable = "odd") -> Losses:
        """Approach the image of an unrelated label map; even steps are twice as large."""
        network, training = self._networks["trained"], self.config.training
        seed = step_seed(self.config.seed, self.step, Purpose.GENERATOR_NOISE)
        noise = draw_noise(seed, batch["position"], training.batch_size, network.noise_shape)
        one_hot = tf.one_hot(tf.cast(batch["label_map"], tf.int32), self.config.data.num_classes)
        weights = network.trainable_variables
        with tf.GradientTape() as tape:
            difference = tf.reduce_mean((network(one_hot, noise) - batch["image"]) ** 2)
            total = (1 if kind == "odd" else 2) * difference / self.num_replicas
        self._optimizers["trained"].apply(tape.gradient(total, weights), weights)
        return {"difference": difference}

    def update_averages(self) -> None:
        update_average(self._networks["average"], self._networks["trained"], tf.constant(0.5))


@contextmanager
def registered_stub() -> Iterator[None]:
    """Make the stub known to `load_config`, as an installed package would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiment.METHODS, "stub", StubConfig)
        yield


def stub_experiment(**changes: Any) -> StubConfig:
    """Make a 32x32 experiment."""
    values = {
        "name": "stub",
        "data": {"classes": CLASSES, "image_size": [32, 32], "subjects": SUBJECTS},
        "training": {"steps": 6, "batch_size": 4, "ema": {"refresh_batches": 0}},
    }
    return StubConfig.model_validate(merge(values, changes))
