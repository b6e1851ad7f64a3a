"""`python -m pipelines.noise_study`: `medusis noise-study`, from a checkout."""

from medusis_tf.console import run
from medusis_tf.studies.noise_study import noise_study

if __name__ == "__main__":
    run(noise_study)
