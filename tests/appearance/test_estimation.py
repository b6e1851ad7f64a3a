"""The estimate against phantoms whose classes are known."""

import numpy as np
import pytest

from medusis_tf.appearance import load_or_estimate
from medusis_tf.appearance.estimation import estimate
from medusis_tf.errors import UserError
from tests.appearance.phantom_data import (
    CLASSES,
    phantom_experiment,
    true_classes,
    true_quantiles,
    with_appearance,
)

AIR, FAT, MUSCLE, CORTEX, TUMOUR, MARROW = range(6)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    config, shards = phantom_experiment(folder)
    return folder, config, shards


@pytest.fixture(scope="module")
def truth(phantom):
    return true_quantiles(*phantom)


@pytest.fixture(scope="module")
def t1(phantom):
    _, config, shards = phantom
    return estimate(with_appearance(config, contrast="t1"), shards)


def test_large_tissues_have_their_true_quantiles(t1, truth):
    distance = np.abs(t1.quantiles - truth).mean(axis=1)
    assert distance[[AIR, FAT, MUSCLE]].max() < 0.04
    assert distance[CORTEX] < 0.1


def test_medians_are_within_a_tenth_without_a_contrast(phantom, truth):
    _, config, shards = phantom
    found = estimate(config, shards).quantiles[:, 16]
    known = [AIR, FAT, MUSCLE, CORTEX]
    assert np.abs(found - truth[:, 16])[known].max() < 0.1
    # The phantom's tumour is brighter than its muscle, and nothing but its place says so.
    assert abs(found[TUMOUR] - truth[TUMOUR, 16]) < 0.2


def test_a_single_patient_is_a_warning(phantom):
    """Its estimates can be far off, and nothing shows it."""
    _, config, shards = phantom
    one = estimate(with_appearance(config, contrast="t1", em={"max_subjects": 1}), shards)
    assert [warning for warning in one.warnings if "of one patient" in warning] == [
        *one.warnings[:2]
    ]
    assert {"label maps", "images"} == {
        warning.removeprefix("the ").partition(" are")[0] for warning in one.warnings[:2]
    }


def test_several_patients_have_no_such_warning(t1):
    assert not any("of one patient" in warning for warning in t1.warnings)


def test_quantiles_are_finite_increasing_and_in_range(t1):
    assert t1.quantiles.shape == (len(CLASSES), 32)
    assert t1.quantiles.dtype == np.float32
    assert (np.diff(t1.quantiles, axis=1) >= 0).all()
    assert np.abs(t1.quantiles).max() <= 1


def test_ties_share_the_grey_levels(t1):
    np.testing.assert_array_equal(t1.quantiles[MARROW], t1.quantiles[FAT])
    np.testing.assert_array_equal(t1.quantiles[TUMOUR], t1.quantiles[MUSCLE])
    assert "like muscle" in t1.classes[TUMOUR].found
    assert "darkest" in t1.classes[CORTEX].found


def test_the_user_overrules_the_table(phantom):
    _, config, shards = phantom
    found = estimate(with_appearance(config, ties={"tumour": "fat", "bone": "soft_tissue"}), shards)
    np.testing.assert_array_equal(found.quantiles[TUMOUR], found.quantiles[FAT])
    np.testing.assert_array_equal(found.quantiles[CORTEX], found.quantiles[MUSCLE])
    assert found.classes[TUMOUR].found == "your tie: like fat"


def test_pseudo_labels_are_the_true_classes(phantom, t1):
    folder, config, shards = phantom
    overlap, sizes = np.zeros((2, len(CLASSES)))
    for name, found in t1.pseudo_labels.items():
        true = true_classes(folder, config, shards, name)
        true = np.where(true == TUMOUR, MUSCLE, true)  # tied: not distinguished
        for k in range(len(CLASSES)):
            overlap[k] += 2 * ((true == k) & (found.labels == k)).sum()
            sizes[k] += (true == k).sum() + (found.labels == k).sum()
        assert found.certainty.min() >= 0
        assert found.certainty.max() <= 1
        assert found.certainty[true != found.labels].mean() < found.certainty.mean()
    dice = overlap / np.maximum(sizes, 1)
    assert dice[[AIR, FAT, MUSCLE, MARROW]].min() > 0.95
    assert dice[CORTEX] > 0.8


def test_the_estimate_is_stable_without_one_patient(t1):
    spreads = [each.spread for each in t1.classes if each.id != AIR]
    assert max(spreads) < 0.1


def test_an_estimate_does_not_depend_on_when_it_is_made(phantom, t1):
    _, config, shards = phantom
    again = estimate(with_appearance(config, contrast="t1"), shards)
    np.testing.assert_array_equal(again.quantiles, t1.quantiles)


def test_a_tissue_that_is_not_stable_is_tied_and_named(phantom):
    _, config, shards = phantom
    found = estimate(with_appearance(config, spread_limit=1e-6), shards)
    assert any("cannot be distinguished" in warning for warning in found.warnings)
    # The last tissue has nothing left to be tied to; bone is not estimated but the darkest.
    assert np.isfinite(found.quantiles).all()
    np.testing.assert_array_equal(found.quantiles[FAT], found.quantiles[MUSCLE])


@pytest.mark.parametrize(
    ("ties", "message"),
    [
        ({"liver": "fat"}, "there is no class liver"),
        ({"tumour": "jelly"}, "unknown rule 'jelly' for tumour"),
        ({"tumour": "marrow", "marrow": "tumour"}, "is a circle"),
    ],
)
def test_wrong_ties_are_errors(phantom, ties, message):
    _, config, shards = phantom
    with pytest.raises(UserError, match=message):
        estimate(with_appearance(config, ties=ties), shards)


def test_label_maps_that_do_not_cover_the_body_are_an_error(tmp_path):
    config, shards = phantom_experiment(tmp_path, labels=2, images=1, only_bone=True)
    with pytest.raises(UserError, match="do not cover the body"):
        estimate(config, shards)


def test_an_estimate_is_kept_beside_the_slices(tmp_path, caplog):
    config, shards = phantom_experiment(tmp_path, labels=2, images=2, cache="shards")
    first = load_or_estimate(config, shards)
    again = load_or_estimate(config, shards)
    folders = list(shards.folder.glob("appearance_*"))
    assert len(folders) == 1
    for name in ("quantiles", "means", "deviations", "correlation_px"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert [each.found for each in first.classes] == [each.found for each in again.classes]
    assert list(first.pseudo_labels) == list(again.pseudo_labels)
    for name, found in first.pseudo_labels.items():
        np.testing.assert_array_equal(found.labels, again.pseudo_labels[name].labels)
        np.testing.assert_array_equal(found.certainty, again.pseudo_labels[name].certainty)
    with caplog.at_level("WARNING"):
        for file in ("appearance.json", f"pseudo_labels/{next(iter(first.pseudo_labels))}.npz"):
            (folders[0] / file).write_text("{}")
            found = load_or_estimate(config, shards)
            np.testing.assert_array_equal(found.quantiles, first.quantiles)
    assert len(caplog.records) == 2  # one line for each damage
    assert all("is damaged or of other data" in record.message for record in caplog.records)
    load_or_estimate(with_appearance(config, contrast="t1"), shards)
    assert len(list(shards.folder.glob("appearance_*"))) == 2
