"""`python -m pipelines.train_and_evaluate`: `medusis train-and-evaluate`, from a checkout."""

from medusis_tf.console import run
from medusis_tf.studies.train_and_evaluate import train_and_evaluate

if __name__ == "__main__":
    run(train_and_evaluate)
