"""`python -m pipelines.segment_ct`: `medusis segment-ct`, from a checkout."""

from medusis_tf.commands.segment_ct import segment_ct
from medusis_tf.console import run

if __name__ == "__main__":
    run(segment_ct)
