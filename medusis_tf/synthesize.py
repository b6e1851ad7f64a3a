"""The command `python -m medusis_tf.synthesize`, the same as `medusis synthesize`."""

from medusis_tf.commands.synthesize import synthesize
from medusis_tf.console import run

if __name__ == "__main__":
    run(synthesize)
