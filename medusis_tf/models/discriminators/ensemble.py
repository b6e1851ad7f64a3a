"""Several discriminators as one, for example of whole images and of patches."""

import keras

from medusis_tf.models.discriminators.image import ImageDiscriminator


@keras.saving.register_keras_serializable("medusis_tf")
class EnsembleDiscriminator(keras.Model):
    """Classifies an image by each of its members.

    A discriminator of whole images sees the anatomy, and one of patches the texture. Alone, the
    first overfits the layout of few real images. Their losses are averaged.

    Args:
        members: Discriminators of the same image size.
    """

    def __init__(self, members: list[ImageDiscriminator], **kwargs):
        super().__init__(**kwargs)
        self.members = list(members)

    def build(self, images_shape):
        for member in self.members:
            if not member.built:
                member.build(images_shape)

    def features(self, images):
        """Compute the feature maps of all members, those of the first member first.

        Args:
            images: `[batch, *image_size, image_channels]` in [-1, 1].

        Returns:
            List of feature maps; see `ImageDiscriminator.features`.
        """
        return [features for member in self.members for features in member.features(images)]

    def call(self, images, training=False):
        """Classify images as real or synthetic.

        Args:
            images: `[batch, *image_size, image_channels]` in [-1, 1].
            training: Ignored, since the networks have no state.

        Returns:
            Tuple of the logits of each member, float32. High values mean real images.
        """
        return tuple(member(images) for member in self.members)
