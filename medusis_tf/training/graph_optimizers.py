"""Which optimizers of TensorFlow's graphs a training uses."""

import tensorflow as tf

from medusis_tf.ops.convolution import has_gpu


def limit_graph_optimizers() -> None:
    """Switch off the optimizers of graphs (Grappler) that training steps do not gain from.

    The remapper fails on the graph of gradients, with an error message. On a CPU, folding constants
    and choosing layouts take 2 of the 10 seconds in which the step of a small network is compiled,
    and steps take as long without them.
    """
    off = ["remapping"] if has_gpu() else ["remapping", "constant_folding", "layout_optimizer"]
    tf.config.optimizer.set_experimental_options(dict.fromkeys(off, False))
