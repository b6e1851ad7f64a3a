"""A tiny diffusion experiment on phantoms, and its training without a loop."""

from pathlib import Path

import keras
import tensorflow as tf

from medusis_tf.config.yaml_files import merge
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.methods.distribution import distribute, share_batch
from medusis_tf.methods.experiment import validate


def experiment(places, **changes):
    values = {
        "method": "diffusion",
        "name": "tiny",
        **places,
        "denoiser": {"base_channels": 8, "num_levels": 2, "num_blocks": 1},
        "sampler": {"steps": 2},
        "appearance": {"contrast": "t1"},
        "training": {
            "steps": 4,
            "batch_size": 4,
            "checkpoint_interval": 2,
            "checkpoints_to_keep": 3,
            "log_interval": 2,
            "validation": {"interval": 0, "slices": 2},
            "ema": {"decay": 0.5},
        },
    }
    return validate(merge(values, changes), Path("tiny.yaml"))


def pairs_of(places):
    """The data with the pairs of the validation for training."""
    subjects = []
    for each in places["data"]["subjects"]:
        whole = {key: value for key, value in each.items() if key != "streams"}
        if each["split"] == "validation":
            subjects.append({**whole, "split": "train"})
        elif each["split"] == "test":
            subjects.append(whole)
    return {"subjects": subjects, "pairing": "paired"}


def weights_of(method):
    return [
        tf.convert_to_tensor(weight.value).numpy()
        for network in method.networks.values()
        for weight in network.weights
    ]


def train(config, steps, strategy=None, compiled=False):
    strategy = strategy or tf.distribute.get_strategy()
    shards = prepare_shards(config)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        method = config.build_method(shards, strategy.num_replicas_in_sync)
    options = {"field_of_view": method.needs_field_of_view, "pseudo_labels": method.pseudo_labels}
    take_step = distribute(strategy, method.train_step)
    if compiled:
        take_step = tf.function(take_step, autograph=False)
    losses = []
    for batch in training_batches(config, shards, **options).take(steps):
        found = take_step(share_batch(strategy, batch))
        method.update_averages()
        losses.append(float(found["denoising"]))
    return method, losses
