"""`python -m pipelines.reproduce_thesis`: `medusis reproduce-thesis`, from a checkout."""

from medusis_tf.console import run
from medusis_tf.studies.thesis.reproduce import reproduce_thesis

if __name__ == "__main__":
    run(reproduce_thesis)
