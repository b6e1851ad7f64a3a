"""`python -m pipelines.export_nnunet`: `medusis export-nnunet`, from a checkout."""

from medusis_tf.command_line import run
from medusis_tf.commands.export_nnunet import export_nnunet

if __name__ == "__main__":
    run(export_nnunet)
