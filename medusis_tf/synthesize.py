"""The command `python -m medusis_tf.synthesize`, the same as `medusis synthesize`."""

from medusis_tf.command_line import run
from medusis_tf.commands.synthesize import synthesize

if __name__ == "__main__":
    run(synthesize)
