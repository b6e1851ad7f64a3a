"""The command `python -m medusis_tf.prepare`, the same as `medusis prepare`."""

from medusis_tf.command_line import run
from medusis_tf.commands.prepare import prepare

if __name__ == "__main__":
    run(prepare)
