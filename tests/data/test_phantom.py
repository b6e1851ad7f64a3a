import numpy as np

from medusis_tf.data.phantom import write_phantom_dataset
from medusis_tf.data.subjects import load_subject
from tests.data.volume_files import phantom_experiment


def test_equal_seeds_write_equal_files(phantom, tmp_path):
    folder, subjects = phantom
    assert write_phantom_dataset(tmp_path, 2, 3, shape=(64, 64, 12), seed=3) == subjects
    written = sorted(folder.rglob("*.nii.gz"))
    assert len(written) == 2 * 2 + 3 + 3
    for path in written:
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


def test_every_ct_yields_all_five_classes_and_no_table(phantom):
    folder, subjects = phantom
    data = phantom_experiment(folder, folder, subjects).data
    for subject in data.subjects:
        volumes = load_subject(subject, data)
        if volumes.label_map is not None:
            counts = np.bincount(volumes.label_map.array.ravel(), minlength=5)
            assert (counts > 150).all(), subject.subject
            assert (volumes.label_map.array[:, -3:] == 0).all()


def test_tissues_of_the_test_subject_look_like_t1(phantom):
    folder, subjects = phantom
    data = phantom_experiment(folder, folder, subjects).data
    volumes = load_subject(data.subjects_of("test")[0], data)
    means = [volumes.image.array[volumes.label_map.array == i].mean() for i in range(5)]
    air, fat, muscle, _, tumour = means
    assert air < muscle < tumour < fat


def test_training_subjects_are_unpaired(phantom):
    _, subjects = phantom
    for subject in subjects:
        assert (subject.ct is None) != (subject.image is None) or subject.split == "test"
