"""`python -m pipelines.prepare_brain`: `medusis prepare-brain`, from a checkout."""

from medusis_tf.commands.prepare_brain import prepare_brain
from medusis_tf.console import run

if __name__ == "__main__":
    run(prepare_brain)
