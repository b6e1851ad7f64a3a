"""`python -m pipelines.prepare_autopet`: `medusis prepare-autopet`, from a checkout."""

from medusis_tf.command_line import run
from medusis_tf.commands.prepare_autopet import prepare_autopet

if __name__ == "__main__":
    run(prepare_autopet)
