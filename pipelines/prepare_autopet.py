"""`python -m pipelines.prepare_autopet`: `medusis prepare-autopet`, from a checkout."""

from medusis_tf.commands.prepare_autopet import prepare_autopet
from medusis_tf.console import run

if __name__ == "__main__":
    run(prepare_autopet)
