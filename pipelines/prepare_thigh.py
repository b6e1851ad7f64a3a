"""`python -m pipelines.prepare_thigh`: `medusis prepare-thigh`, from a checkout."""

from medusis_tf.commands.prepare_thigh import prepare_thigh
from medusis_tf.console import run

if __name__ == "__main__":
    run(prepare_thigh)
