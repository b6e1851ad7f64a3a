"""`python -m pipelines.tissue_label_map`: `medusis tissue-label-map`, from a checkout."""

from medusis_tf.command_line import run
from medusis_tf.commands.tissue_label_map import tissue_label_map

if __name__ == "__main__":
    run(tissue_label_map)
