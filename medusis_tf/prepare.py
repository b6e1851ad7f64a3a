"""The command `python -m medusis_tf.prepare`, the same as `medusis prepare`."""

from medusis_tf.commands.application import run_command

if __name__ == "__main__":
    run_command("prepare")
