"""The command `python -m medusis_tf.train`, the same as `medusis train`."""

from medusis_tf.commands.train import train
from medusis_tf.console import run

if __name__ == "__main__":
    run(train)
