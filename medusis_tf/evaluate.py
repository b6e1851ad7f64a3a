"""The command `python -m medusis_tf.evaluate`, the same as `medusis evaluate`."""

from medusis_tf.command_line import run
from medusis_tf.commands.evaluate import evaluate

if __name__ == "__main__":
    run(evaluate)
