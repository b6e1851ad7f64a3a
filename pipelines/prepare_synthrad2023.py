"""`python -m pipelines.prepare_synthrad2023`: `medusis prepare-synthrad2023`, from a checkout."""

from medusis_tf.command_line import run
from medusis_tf.commands.prepare_synthrad2023 import prepare_synthrad2023

if __name__ == "__main__":
    run(prepare_synthrad2023)
