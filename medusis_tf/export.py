"""The command `python -m medusis_tf.export`, the same as `medusis export`."""

from medusis_tf.commands.export import export
from medusis_tf.console import run

if __name__ == "__main__":
    run(export)
