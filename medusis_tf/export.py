"""The command `python -m medusis_tf.export`, the same as `medusis export`."""

from medusis_tf.commands.application import run_command

if __name__ == "__main__":
    run_command("export")
