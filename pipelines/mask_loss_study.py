"""`python -m pipelines.mask_loss_study`: `medusis mask-loss-study`, from a checkout."""

from medusis_tf.console import run
from medusis_tf.studies.mask_loss.study import mask_loss_study

if __name__ == "__main__":
    run(mask_loss_study)
