"""`python -m pipelines.prepare_thigh`: `medusis prepare-thigh`, from a checkout."""

from medusis_tf.command_line import run
from medusis_tf.commands.prepare_thigh import prepare_thigh

if __name__ == "__main__":
    run(prepare_thigh)
