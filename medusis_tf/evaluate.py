"""The command `python -m medusis_tf.evaluate`, the same as `medusis evaluate`."""

from medusis_tf.commands.application import run_command

if __name__ == "__main__":
    run_command("evaluate")
