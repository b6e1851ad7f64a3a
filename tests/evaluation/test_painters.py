"""The baselines that need no true pair."""

import logging

import numpy as np

from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.evaluation.painters import UNPAIRED_MEANS, UNPAIRED_TEXTURE, other_painters
from medusis_tf.evaluation.setup import unpaired_appearance
from tests.appearance.phantom_data import CLASSES, phantom_experiment


def test_data_without_pairs_has_baselines_from_unpaired_appearance(tmp_path):
    config, shards = phantom_experiment(tmp_path, labels=2, images=2)
    appearance = unpaired_appearance(config, shards)
    training = LabelledSubjects(shards, config.data, "train")
    assert not training.has_pairs
    painters = {
        each.name: each for each in other_painters(shards, training, len(CLASSES), appearance)
    }
    subject = next(iter(training))
    means = painters[UNPAIRED_MEANS].paint(subject, 0)
    assert set(np.unique(means)) <= set(appearance.means.astype(np.float32))
    assert painters[UNPAIRED_TEXTURE].is_random
    first, other = (painters[UNPAIRED_TEXTURE].paint(subject, seed) for seed in (0, 1))
    assert first.shape == subject.label_map.shape
    assert np.abs(first - other).mean() > 0.01


def test_baselines_without_an_estimate_are_left_out_and_the_log_says_why(tmp_path, caplog):
    config, shards = phantom_experiment(tmp_path, labels=2, images=1, only_bone=True)
    with caplog.at_level(logging.INFO, "medusis_tf"):
        assert unpaired_appearance(config, shards) is None
    assert "label maps do not cover the body" in caplog.text
    training = LabelledSubjects(shards, config.data, "train")
    names = [each.name for each in other_painters(shards, training, len(CLASSES))]
    assert UNPAIRED_MEANS not in names
