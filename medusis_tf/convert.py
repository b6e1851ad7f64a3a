"""The command `python -m medusis_tf.convert`, the same as `medusis convert`."""

from medusis_tf.commands.application import run_command

if __name__ == "__main__":
    run_command("convert")
