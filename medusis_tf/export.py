"""The command `python -m medusis_tf.export`, the same as `medusis export`."""

from medusis_tf.command_line import run
from medusis_tf.commands.export import export

if __name__ == "__main__":
    run(export)
