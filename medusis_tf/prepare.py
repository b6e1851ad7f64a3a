"""The command `python -m medusis_tf.prepare`, the same as `medusis prepare`."""

from medusis_tf.commands.prepare import prepare
from medusis_tf.console import run

if __name__ == "__main__":
    run(prepare)
