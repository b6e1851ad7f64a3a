"""Components in graphs that know no size, as in a SavedModel, equal the compiled ones."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.ops.mask_components import connected_components, fill_holes, keep_large_components


@pytest.mark.parametrize("function", [connected_components, fill_holes, keep_large_components])
@pytest.mark.parametrize("shape", [(1, 9, 17), (3, 16, 8), (2, 5, 6, 7)])
def test_graphs_without_sizes_agree(function, shape):
    mask = tf.constant(np.random.default_rng(0).random(shape) > 0.5)
    signature = [tf.TensorSpec([None] * len(shape), tf.bool)]
    graph = tf.function(function, input_signature=signature, autograph=False)
    np.testing.assert_array_equal(graph(mask), function(mask))
    concrete = graph.get_concrete_function().graph.as_graph_def()
    attributes = [each.attr for each in concrete.library.function]
    assert not any(attr["_XlaMustCompile"].b for attr in attributes if "_XlaMustCompile" in attr)
