"""`python -m pipelines.train_segmenter`: `medusis train-segmenter`, from a checkout."""

from medusis_tf.command_line import run
from medusis_tf.commands.train_segmenter import train_segmenter

if __name__ == "__main__":
    run(train_segmenter)
