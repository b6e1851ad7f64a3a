"""The examples in docstrings run and print what they claim."""

import doctest
import importlib

import pytest

MODULES = [
    "medusis_tf.losses.segmentation",
    "medusis_tf.models.generators.wavelet",
    "medusis_tf.models.segmenters.unet",
    "medusis_tf.ops.haar",
    "medusis_tf.ops.mask_components",
    "medusis_tf.ops.morphology",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(importlib.import_module(name), optionflags=options)
    assert result.attempted > 0
    assert result.failed == 0
