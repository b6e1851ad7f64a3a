"""The benchmark of the evaluation covers every metric that needs no network."""

import numpy as np
import pytest

from benchmarks.evaluation import Clock, made_subject, measure
from benchmarks.label_maps import made_label_maps


def test_every_part_is_timed():
    found = measure(pairs=8, size=64, num_classes=5)
    parts = {
        "real_images", "similarity", "similarity/volume", "thesis_protocol", "outline",
        "segmentation/shifted", "distribution/radiomics", "distribution/sliced_wasserstein",
        "volume_consistency", "audit",
    }  # fmt: skip
    seconds = {name: found.pop(f"{name}_seconds") for name in parts}
    assert min(seconds.values()) > 0
    assert found["seconds"] == pytest.approx(sum(seconds.values()))
    assert found["pairs"] == 8
    assert found["milliseconds_per_pair"] == pytest.approx(1000 * found["seconds"] / 8)
    assert 0 < found["gigabytes_when_imported"] <= found["peak_gigabytes"]
    assert not [name for name in found if name.endswith("_seconds")], "no other part is timed"


def test_synthetic_images_resemble_their_true_images():
    maps = made_label_maps(64, 5, 3)
    subject, images = made_subject(maps, 2, 5)
    assert subject.image.shape == images.shape == maps.shape
    assert set(np.unique(subject.label_map)) == set(np.unique(maps))
    assert ((subject.label_map == 0) == (maps == 0)).all()
    assert np.corrcoef(images.ravel(), subject.image.ravel())[0, 1] > 0.8
    other, _ = made_subject(maps, 3, 5)
    assert (other.image != subject.image).mean() > 0.3


def test_a_clock_accumulates():
    clock = Clock()
    for _ in range(2):
        with clock.of("a"):
            pass
    assert list(clock.seconds) == ["a"]
    assert clock.seconds["a"] > 0
