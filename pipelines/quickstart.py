"""`python -m pipelines.quickstart`: `medusis quickstart`, from a checkout."""

from medusis_tf.commands.quickstart import quickstart
from medusis_tf.console import run

if __name__ == "__main__":
    run(quickstart)
