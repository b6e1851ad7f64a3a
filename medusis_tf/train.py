"""The command `python -m medusis_tf.train`, the same as `medusis train`."""

from medusis_tf.command_line import run
from medusis_tf.commands.train import train

if __name__ == "__main__":
    run(train)
