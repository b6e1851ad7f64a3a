"""`python -m pipelines.quickstart`: `medusis quickstart`, from a checkout."""

from medusis_tf.command_line import run
from medusis_tf.commands.quickstart import quickstart

if __name__ == "__main__":
    run(quickstart)
