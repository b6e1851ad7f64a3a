import pytest

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.methods.experiment import load_config
from medusis_tf.metrics.grey_levels import learn_grey_levels
from medusis_tf.metrics.outline import outline_agreement, visible_body
from medusis_tf.studies.mask_loss.phantom_study import PHANTOMS, phantom_overrides
from tests.commands.test_train_segmenter import QUICKSTART


@pytest.mark.parametrize("name", PHANTOMS)
def test_training_images_have_a_smaller_outline(name, tmp_path):
    overrides = phantom_overrides(name, tmp_path)
    shards = prepare_shards(load_config(QUICKSTART, overrides))
    levels = learn_grey_levels(shards)

    def area(split, stream):
        parts = [shards.read(entry).image for entry in shards.subjects(split, stream)]
        return sum(visible_body(part, levels.dark_tissue).mean() for part in parts) / len(parts)

    # Subjects with a label map have an MR image of the same outline, to train the segmenter.
    seen, labelled = area("train", "image"), area("train", "label_map")
    assert labelled > 1.15 * seen
    test = shards.read("test_0")
    assert outline_agreement(test.image, test.label_map, levels).dice > 0.96
    assert phantom_overrides(name, tmp_path) == overrides
