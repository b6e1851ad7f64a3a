import numpy as np
import pytest

from medusis_tf.metrics.independent_segmenter import SegmenterRecord, class_finder
from medusis_tf.models.sections import UNetSegmenterConfig
from medusis_tf.training.segmenter import Pairs, SegmenterTraining

# Keras 3.15 converts its variables to arrays in a way that NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def training():
    record = SegmenterRecord(
        class_names=("background", "disc"),
        image_size=(32, 32),
        spacing_mm=(1, 1),
        network=UNetSegmenterConfig(base_channels=4, num_levels=3),
        subjects=(),
        steps=0,
        held_out="none",
        held_out_dice={},
    )
    return SegmenterTraining(record, batch_size=4)


@pytest.fixture(scope="module")
def discs():
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    centres, radii = random.uniform(10, 22, (16, 2)), random.uniform(5, 9, 16)
    label_map = np.stack(
        [
            np.hypot(rows - row, columns - column) < radius
            for (row, column), radius in zip(centres, radii, strict=True)
        ]
    ).astype(np.uint8)
    return Pairs(label_map, np.where(label_map == 1, 0.4, -0.4).astype(np.float32))


def test_a_restart_repeats_a_training(training, discs):
    def weights(seed):
        training.restart(seed)
        training.fit(discs, 3, seed)
        return training.network.get_weights()

    first, other, again = weights(0), weights(1), weights(0)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)
    assert any(np.abs(one - two).max() > 0.01 for one, two in zip(first, other, strict=True))


def test_training_continues_from_the_present_weights(training, discs):
    def dice():
        found = class_finder(training.network)(discs.image)
        return 2 * (found & discs.label_map).sum() / (found.sum() + discs.label_map.sum())

    training.restart(0)
    training.fit(discs, 60, 0)
    before = dice()
    assert before > 0.8
    training.fit(discs, 3, 0, learning_rate=1e-4)
    assert dice() > before - 0.1
