"""`python -m pipelines.prepare_synthrad2023`: `medusis prepare-synthrad2023`, from a checkout."""

from medusis_tf.commands.prepare_synthrad2023 import prepare_synthrad2023
from medusis_tf.console import run

if __name__ == "__main__":
    run(prepare_synthrad2023)
