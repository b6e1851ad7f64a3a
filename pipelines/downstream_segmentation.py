"""`python -m pipelines.downstream_segmentation`: `medusis downstream-segmentation`."""

from medusis_tf.commands.downstream_segmentation import downstream_segmentation
from medusis_tf.console import run

if __name__ == "__main__":
    run(downstream_segmentation)
