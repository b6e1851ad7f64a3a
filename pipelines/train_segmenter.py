"""`python -m pipelines.train_segmenter`: `medusis train-segmenter`, from a checkout."""

from medusis_tf.commands.train_segmenter import train_segmenter
from medusis_tf.console import run

if __name__ == "__main__":
    run(train_segmenter)
