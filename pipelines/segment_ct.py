"""`python -m pipelines.segment_ct`: `medusis segment-ct`, from a checkout."""

from medusis_tf.command_line import run
from medusis_tf.commands.segment_ct import segment_ct

if __name__ == "__main__":
    run(segment_ct)
