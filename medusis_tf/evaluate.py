"""The command `python -m medusis_tf.evaluate`, the same as `medusis evaluate`."""

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.console import run

if __name__ == "__main__":
    run(evaluate)
