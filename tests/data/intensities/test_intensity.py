from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import exposure

from medusis_tf.config.intensity import (
    MinMaxIntensity,
    NyulIntensity,
    PercentileIntensity,
    SliceMinMaxIntensity,
    WindowIntensity,
    ZScoreIntensity,
)
from medusis_tf.config.section import Section
from medusis_tf.data.intensities.intensity import (
    IntensityScale,
    landmarks,
    mean_scale,
    restore_intensity,
    scale_intensity,
    slice_scales,
    standard_landmarks,
    volume_scale,
)
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

VOLUME_CONFIGS = [
    PercentileIntensity(),
    MinMaxIntensity(name="min_max"),
    WindowIntensity(name="window", lower=-160, upper=240),
    ZScoreIntensity(name="z_score"),
]
NYUL = NyulIntensity(name="nyul")
STORED = [
    ("<i2", 1.0, 0.0),
    ("<i2", -2.5, 100.0),
    (np.uint8, 13.9, -50.0),
    (np.int32, 1.0, -1024.0),
    (np.float32, 1.0, 0.0),
    (np.float64, 0.5, 3.0),
]


def volume(array, slope=1.0, intercept=0.0, name="mr.nii") -> Volume:
    return Volume(np.asarray(array), np.eye(4), Path(name), slope, intercept)


def head(seed=0, dtype=np.int16, slope=1.0, intercept=0.0) -> Volume:
    """A volume half exactly 0, half of two tissues with a bright tail."""
    rng = np.random.default_rng(seed)
    array = rng.normal(60, 8, [12, 14, 16])
    array[6:] = rng.normal(110, 10, [6, 14, 16])
    array[9] = rng.gamma(2, 40, [14, 16]) + 90
    array[:, :7] = 0
    return volume(np.clip(array, 0, 250).astype(dtype), slope, intercept)


def test_percentiles_become_minus_one_and_one():
    array = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
    scale = volume_scale(volume(array), PercentileIntensity(lower=10, upper=90))
    assert scale == IntensityScale((100.0, 900.0), (-1.0, 1.0))
    np.testing.assert_allclose(
        scale_intensity(np.array([0, 100, 500, 900, 1000.0]), scale), [-1, -1, 0, 1, 1]
    )


@pytest.mark.parametrize(("dtype", "slope", "intercept"), STORED)
def test_percentiles_equal_numpy_for_stored_values(dtype, slope, intercept):
    array = np.random.default_rng(1).normal(100, 30, [9, 10, 11]).clip(0, 255).astype(dtype)
    stored = volume(array[::-1, :, ::2].transpose(2, 0, 1), slope, intercept)
    scale = volume_scale(stored, PercentileIntensity(lower=3.3, upper=97))
    expected = np.percentile(stored.intensities().astype(np.float64), [3.3, 97])
    np.testing.assert_allclose(scale.source, expected, rtol=2e-7)


@pytest.mark.parametrize(("dtype", "slope", "intercept"), STORED)
def test_min_max_and_z_score_agree_with_numpy(dtype, slope, intercept):
    image = head(dtype=dtype, slope=slope, intercept=intercept)
    values = image.intensities().astype(np.float64)
    scale = volume_scale(image, MinMaxIntensity(name="min_max"))
    np.testing.assert_allclose(scale.source, [values.min(), values.max()], rtol=1e-6)
    scale = volume_scale(image, ZScoreIntensity(name="z_score", deviations=2))
    reach = 2 * values.std()
    expected = [values.mean() - reach, values.mean() + reach]
    np.testing.assert_allclose(scale.source, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("config", VOLUME_CONFIGS, ids=lambda config: config.name)
def test_two_knots_equal_the_rescaling_of_scikit_image(config):
    image = head()
    scale = volume_scale(image, config)
    values = image.intensities()
    expected = exposure.rescale_intensity(values, in_range=scale.source, out_range=(-1.0, 1.0))
    np.testing.assert_allclose(scale_intensity(values, scale), expected, atol=1e-6)


@pytest.mark.parametrize(("dtype", "slope", "intercept"), STORED)
@pytest.mark.parametrize("config", [*VOLUME_CONFIGS, NYUL], ids=lambda config: config.name)
def test_every_scale_increases_and_can_be_inverted(config, dtype, slope, intercept):
    image = head(dtype=dtype, slope=slope, intercept=intercept)
    standard = standard_landmarks([landmarks(image, NYUL)]) if config is NYUL else None
    scale = volume_scale(image, config, standard)
    values = np.sort(image.intensities().ravel())
    scaled = scale_intensity(values, scale)
    assert scaled.dtype == np.float32
    assert scaled.min() >= -1
    assert scaled.max() <= 1
    assert np.all(np.diff(scaled) >= 0)
    clipped = np.clip(values, scale.source[0], scale.source[-1])
    span = scale.source[-1] - scale.source[0]
    np.testing.assert_allclose(restore_intensity(scaled, scale), clipped, atol=2e-6 * span)


knots = st.lists(st.floats(-5000, 5000, width=32), min_size=2, max_size=8, unique=True).filter(
    lambda values: min(abs(a - b) for a in values for b in values if a != b) > 1
)


@given(knots, st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_any_scale_can_be_inverted_within_its_ends(source, seed):
    rng = np.random.default_rng(seed)
    scaled = np.linspace(-1, 1, len(source))
    scaled[1:-1] += rng.uniform(-0.4, 0.4, len(source) - 2) * 2 / len(source)
    scale = IntensityScale(tuple(sorted(source)), tuple(scaled.tolist()))
    values = rng.uniform(min(source), max(source), [3, 4, 5]).astype(np.float32)
    scaled_values = scale_intensity(values, scale)
    np.testing.assert_allclose(
        scaled_values, np.interp(values, scale.source, scale.scaled), atol=1e-6, rtol=0
    )
    # float32 values near 1 resolve 2**24 levels of the steepest segment.
    steepest = np.max(np.diff(scale.source) / np.diff(scale.scaled))
    error = np.abs(restore_intensity(scaled_values, scale) - values).max()
    assert error <= 2.5e-7 * steepest + 1e-6 * np.abs(values).max()


@pytest.mark.parametrize("config", [*VOLUME_CONFIGS, NYUL], ids=lambda config: config.name)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_constant_volume_raises_an_error(config, dtype):
    with pytest.raises(UserError, match=r"mr\.nii is almost constant: .* both 7\. Check the file"):
        volume_scale(volume(np.full([5, 6, 7], 7, dtype)), config, (-1.0, 1.0))


def test_a_single_bright_voxel_is_almost_constant():
    array = np.zeros([10, 10, 10], np.float32)
    array[0, 0, 0] = 5
    with pytest.raises(UserError, match=r"percentiles 0\.5 and 99\.5 .* or widen data\.intensity"):
        volume_scale(volume(array), PercentileIntensity())


def test_a_volume_has_no_slice_scale():
    with pytest.raises(ValueError, match="slice_min_max has no scale for a whole volume"):
        volume_scale(head(), SliceMinMaxIntensity(name="slice_min_max"))


@pytest.mark.parametrize(
    ("source", "scaled"),
    [((1.0,), (1.0,)), ((1.0, 1.0), (-1.0, 1.0)), ((1.0, 2.0), (-1.0, 1.5)), ((0.0, 1.0), (0.0,))],
)
def test_invalid_knots_raise_an_error(source, scaled):
    with pytest.raises(ValueError, match="must"):
        IntensityScale(source, scaled)


def test_scales_are_stored_in_manifests():
    class Record(Section):
        intensity: tuple[IntensityScale, ...] | None

    record = Record(
        intensity=(IntensityScale((0.1, 3.3), (-1.0, 1.0)), IntensityScale((0, 9), (-1, 1)))
    )
    assert Record.model_validate_json(record.model_dump_json()) == record
    with pytest.raises(ValueError, match="must increase"):
        Record.model_validate_json('{"intensity": [{"source": [2, 1], "scaled": [-1, 1]}]}')


def test_nyul_landmarks_are_percentiles_of_the_foreground():
    image = head(dtype=np.float32)
    values = image.array.astype(np.float64)
    foreground = values[values > values.mean()]
    found = landmarks(image, NYUL)
    assert found[0] == 0  # half of the volume is air
    np.testing.assert_allclose(
        found[1:], np.percentile(foreground, NYUL.percentiles[1:]), rtol=1e-6
    )
    assert np.all(np.diff(found) > 0)


@pytest.mark.parametrize(("slope", "intercept"), [(3.0, 0.0), (0.25, 700.0)])
def test_nyul_removes_affine_changes_of_the_intensities(slope, intercept):
    first, other = head(3), head(3, slope=slope, intercept=intercept)
    standard = standard_landmarks([landmarks(image, NYUL) for image in (first, other, head(4))])
    one, two = (
        scale_intensity(image.intensities(), volume_scale(image, NYUL, standard))
        for image in (first, other)
    )
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert one.std() > 0.3


def test_nyul_inverts_a_negative_slope():
    image = head(5)
    negated = volume(-image.array.astype(np.int16), slope=-1.0)
    assert landmarks(negated, NYUL) == pytest.approx(landmarks(image, NYUL))


def test_nyul_maps_all_landmarks_to_the_standard():
    images = [head(0), head(1, slope=3), head(2, slope=0.5, intercept=40)]
    images.append(volume(np.sqrt(head(6).array.astype(np.float32))))
    standard = standard_landmarks([landmarks(image, NYUL) for image in images])
    assert standard[0] == -1
    assert standard[-1] == 1
    for image in images:
        found = landmarks(image, NYUL)
        scaled = scale_intensity(np.array(found), volume_scale(image, NYUL, standard))
        np.testing.assert_allclose(scaled, standard, atol=1e-6)


def test_coinciding_landmarks_give_an_invertible_scale():
    array = np.zeros([10, 10, 10], np.uint8)
    array[5:] = 100  # many percentiles are this one value
    array[9] = np.arange(100).reshape(10, 10) + 101
    image = volume(array)
    standard = standard_landmarks([landmarks(head(), NYUL), landmarks(image, NYUL)])
    scale = volume_scale(image, NYUL, standard)
    assert len(scale.source) < len(standard)
    values = np.array([0, 50, 100, 150, 199.0])
    np.testing.assert_allclose(
        restore_intensity(scale_intensity(values, scale), scale),
        np.clip(values, *scale.source[:: len(scale.source) - 1]),
        atol=1e-3,
    )


def test_nyul_needs_the_landmarks_of_the_training_volumes():
    with pytest.raises(ValueError, match="standard landmarks"):
        volume_scale(head(), NYUL)


def test_every_slice_has_its_own_range_and_a_constant_slice_is_dark():
    slices = np.random.default_rng(0).uniform(-3, 9, [4, 5, 6]).astype(np.float32)
    slices[2] = 4.5
    scales = slice_scales(slices)
    scaled = np.stack([scale_intensity(*pair) for pair in zip(slices, scales, strict=True)])
    np.testing.assert_allclose(scaled.min(axis=(1, 2)), -1, atol=1e-6)
    np.testing.assert_allclose(scaled.max(axis=(1, 2))[[0, 1, 3]], 1, atol=1e-6)
    assert np.all(scaled[2] == -1)
    restored = [restore_intensity(*pair) for pair in zip(scaled, scales, strict=True)]
    np.testing.assert_allclose(np.stack(restored), slices, atol=1e-5)


def test_the_mean_scale_restores_the_mean_of_all_scales():
    scales = [
        IntensityScale((0.0, 100.0), (-1.0, 1.0)),
        IntensityScale((10.0, 40.0, 300.0), (-1.0, 0.5, 1.0)),
    ]
    values = np.linspace(-1, 1, 21)
    expected = np.mean([restore_intensity(values, scale) for scale in scales], axis=0)
    np.testing.assert_allclose(restore_intensity(values, mean_scale(scales)), expected, rtol=1e-5)
    assert mean_scale(scales[:1]) == scales[0]
