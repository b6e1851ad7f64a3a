"""The OASIS generator: SPADE blocks that grow an image from a downsampled label map."""

import keras

from medusis_tf.layers.generator_blocks import SPADEBlock
from medusis_tf.models.generators.growing import GrowingGenerator


@keras.saving.register_keras_serializable("medusis_tf")
class OASISGenerator(GrowingGenerator):
    """Synthesizes an image from a label map with SPADE residual blocks.

    All sides of the label map must be divisible by `stride`.

    Args:
        num_classes: Channels of the one-hot label map.
        image_channels: Channels of the image.
        base_channels: Channels of the last block. Earlier blocks have up to 16 times as many.
        **settings: Other arguments of `ConditionalGenerator` and of a Keras model.

    Reference:
        You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    def __init__(self, num_classes, image_channels=1, base_channels=64, **settings):
        super().__init__(num_classes, image_channels, base_channels, **settings)
        self._create(self._blocks(SPADEBlock, self.channel_plan[1:]))
