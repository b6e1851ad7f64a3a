"""`python -m pipelines.export_nnunet`: `medusis export-nnunet`, from a checkout."""

from medusis_tf.commands.export_nnunet import export_nnunet
from medusis_tf.console import run

if __name__ == "__main__":
    run(export_nnunet)
