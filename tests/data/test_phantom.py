import numpy as np
import pytest

from medusis_tf.data.phantom import write_phantom_dataset
from medusis_tf.data.preparing.subjects import load_image, load_label_map
from tests.data.volume_files import phantom_experiment


@pytest.fixture(scope="module")
def data(phantom):
    folder, subjects = phantom
    return phantom_experiment(folder, folder, subjects).data


def test_equal_seeds_write_equal_files(phantom, tmp_path):
    folder, subjects = phantom
    assert write_phantom_dataset(tmp_path, 2, 3, shape=(64, 64, 12), seed=3) == subjects
    written = sorted(folder.rglob("*.nii.gz"))
    assert len(written) == 2 * 2 + 3 + 3
    for path in written:
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


def test_every_ct_yields_all_five_classes_and_no_table(data):
    with_ct = [subject for subject in data.subjects if subject.ct is not None]
    assert len(with_ct) == 3
    for subject in with_ct:
        array = load_label_map(subject, data).array
        assert (np.bincount(array.ravel(), minlength=5) > 150).all(), subject.subject
        assert (array[:, -3:] == 0).all()


def test_tissues_of_the_test_subject_have_t1_contrast(data):
    subject = data.subjects_of("test")[0]
    label_map, image = load_label_map(subject, data), load_image(subject, data)
    means = [image.intensities()[label_map.array == i].mean() for i in range(5)]
    air, fat, muscle, _, tumour = means
    assert air < muscle < tumour < fat


def test_training_subjects_are_unpaired(phantom):
    _, subjects = phantom
    for subject in subjects:
        assert (subject.ct is None) != (subject.image is None) or subject.split == "test"
