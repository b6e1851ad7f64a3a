"""`python -m pipelines.tissue_label_map`: `medusis tissue-label-map`, from a checkout."""

from medusis_tf.commands.tissue_label_map import tissue_label_map
from medusis_tf.console import run

if __name__ == "__main__":
    run(tissue_label_map)
