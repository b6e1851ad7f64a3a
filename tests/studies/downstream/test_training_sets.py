import numpy as np
import pytest

from medusis_tf.appearance.appearance import Appearance
from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from medusis_tf.evaluation.painters import Painter
from medusis_tf.methods.experiment import load_config
from medusis_tf.studies.downstream import training_sets
from medusis_tf.studies.downstream.painters import grey_painters, mixture_painter
from medusis_tf.studies.downstream.training_sets import StudyData, TrainingSets, check_data
from tests.serving.small_run import make_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Label maps of a and c, images of b and c, a test pair d; 5 slices each."""
    config = load_config(make_run(tmp_path_factory) / "config.yaml")
    return StudyData(config, prepare_shards(config))


@pytest.fixture
def painters():
    greys = Appearance(
        classes=(),
        quantiles=np.array([[-1.0] * 32, np.linspace(0.3, 0.7, 32), [np.nan] * 32]),
        means=np.array([-1, 0.5, np.nan]),
        deviations=np.array([0, 0.1, np.nan]),
        correlation_px=np.ones((3, 2)),
        subject_means={},
        features=(),
        smoothing=0,
        warnings=(),
        pseudo_labels={},
    )
    return {"mixture": mixture_painter(3), **grey_painters(greys)}


@pytest.fixture
def sets(data, painters):
    return TrainingSets(data, data, painters, draws=3)


def test_random_painters_paint_every_label_map_several_times(sets, data):
    pairs, again, other = (sets.painted("mixture", seed) for seed in (0, 0, 1))
    count = sum(record.num_slices for record in data.painted())
    assert len(pairs.image) == 3 * count
    np.testing.assert_array_equal(pairs.label_map[:count], pairs.label_map[count : 2 * count])
    np.testing.assert_array_equal(pairs.image, again.image)
    images = [*pairs.image, *other.image]
    assert len({image.tobytes() for image in images}) == len(images)
    assert pairs.image.min() >= -1
    assert pairs.image.max() <= 1
    assert len(sets.painted("estimated_means", 0).image) == count


def test_unknown_greys_are_random_in_the_mixture_and_average_in_the_means(sets):
    means = sets.painted("estimated_means", 0)
    assert {*np.unique(means.image[means.label_map == 2])} == {np.float32(0.5)}
    mixture = sets.painted("estimated_mixture", 0)
    known, unknown = (
        [
            image[ids == k].mean()
            for ids, image in zip(mixture.label_map, mixture.image, strict=True)
        ]
        for k in (1, 2)
    )
    assert np.std(known) < 0.2 < np.std(unknown)


def test_real_patients_are_at_most_as_many_as_label_maps(sets, data):
    assert sets.label_patients == ["a", "c"]
    assert sets.pair_patients == ["c"]
    real = sets.real(["c"])
    np.testing.assert_array_equal(real.image, data.shards.read("c").image)
    np.testing.assert_array_equal(real.label_map, data.shards.read("c").label_map)


def test_chosen_patients_are_nested_and_differ_between_seeds(sets):
    sets.pair_patients = list("abcdefgh")
    for seed in range(5):
        four = sets.choose_patients(4, seed)
        assert len(set(four)) == 4
        assert sets.choose_patients(2, seed) == four[:2]
    assert len({tuple(sets.choose_patients(2, seed)) for seed in range(5)}) > 1


def test_fine_classes_are_painted_and_coarse_ones_learned(data, painters, monkeypatch):
    """Muscle is a part of fat, and bone, which no voxel has, a class behind it."""
    muscle = data.config.data.classes[2].model_copy(update={"part_of": "fat"})
    bone = ClassEntry(id=3, name="bone", colour=(9, 9, 9))
    content = data.config.data.model_copy(
        update={"classes": (*data.config.data.classes[:2], muscle, bone)}
    )
    config = data.config.model_copy(update={"data": content})
    coarse = StudyData(config, data.shards)
    assert coarse.coarse_ids.tolist() == [0, 1, 1, 2]
    assert [entry.name for entry in coarse.classes] == ["background", "fat", "bone"]
    assert [entry.id for entry in coarse.classes] == [0, 1, 2]
    sets = TrainingSets(coarse, coarse, painters, draws=1)
    fine = TrainingSets(data, data, painters, draws=1)
    for source in ("mixture", "estimated_means"):
        pairs, others = sets.painted(source, 0), fine.painted(source, 0)
        np.testing.assert_array_equal(pairs.image, others.image)
        np.testing.assert_array_equal(pairs.label_map, np.minimum(others.label_map, 1))
    assert sets.real(["c"]).label_map.max() == 1
    [volume] = coarse.volumes("test")
    assert volume.label_map.max() == 1
    assert volume.spacing_mm == (5.0, 2.5, 2.5)
    monkeypatch.setattr(training_sets, "MAX_SLICES", 4)
    assert len(sets.painted("mixture", 0).image) <= 4
    assert len(sets.real(["c"]).image) <= 4


def test_painters_get_different_seeds_for_every_volume(data):
    seen = []

    def paint(subject, seed):
        seen.append((subject.name, seed))
        return np.full(subject.label_map.shape, 3.0, np.float32)

    sets = TrainingSets(data, data, {"synthetic": Painter("m", "model", paint, is_random=True)}, 2)
    # Clipped to the largest intensity, with air outside the field of view.
    assert set(np.unique(sets.painted("synthetic", 0).image)) == {-1.0, 1.0}
    assert [name for name, _ in seen] == ["a", "c", "a", "c"]
    assert len({seed for _, seed in seen}) == 4


def test_data_that_do_not_belong_together_are_refused(data):
    check_data(data, data, "test")

    def changed(**update):
        content = data.config.data.model_copy(update=update)
        config = data.config.model_copy(update={"data": content, "name": "other"})
        return StudyData(config, data.shards)

    with pytest.raises(UserError, match="small and other differ in image_size"):
        check_data(data, changed(image_size=(64, 64)), "test")
    renamed = (*data.config.data.classes[:2], ClassEntry(id=2, name="bone", colour=(0, 0, 0)))
    with pytest.raises(UserError, match="differ in coarse classes"):
        check_data(data, changed(classes=renamed), "test")
    with pytest.raises(UserError, match="the validation split of small has no subject with both"):
        check_data(data, data, "validation")
    moved = tuple(
        entry.model_copy(update={"split": "train"}) for entry in data.config.data.subjects
    )
    with pytest.raises(UserError, match=r"d: in the test split .* must be unseen"):
        check_data(changed(subjects=moved), data, "test")
