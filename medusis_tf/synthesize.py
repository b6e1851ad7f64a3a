"""The command `python -m medusis_tf.synthesize`, the same as `medusis synthesize`."""

from medusis_tf.commands.application import run_command

if __name__ == "__main__":
    run_command("synthesize")
