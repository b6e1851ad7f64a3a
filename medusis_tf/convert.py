"""The command `python -m medusis_tf.convert`, the same as `medusis convert`."""

from medusis_tf.commands.convert import convert
from medusis_tf.console import run

if __name__ == "__main__":
    run(convert)
