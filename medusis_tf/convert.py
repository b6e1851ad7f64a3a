"""The command `python -m medusis_tf.convert`, the same as `medusis convert`."""

from medusis_tf.command_line import run
from medusis_tf.commands.convert import convert

if __name__ == "__main__":
    run(convert)
