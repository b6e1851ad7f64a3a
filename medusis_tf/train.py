"""The command `python -m medusis_tf.train`, the same as `medusis train`."""

from medusis_tf.commands.application import run_command

if __name__ == "__main__":
    run_command("train")
