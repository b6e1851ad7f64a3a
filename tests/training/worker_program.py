"""Program of a worker: `medusis train`, but a worker may die before a step.

Usage: python -m tests.training.worker_program DIES_BEFORE_STEP [ARGUMENTS OF TRAIN]
"""

import os
import signal
import sys

from medusis_tf.commands.application import run_command
from medusis_tf.training.loop import TrainingLoop


def main() -> None:
    deadly_step = int(sys.argv.pop(1))
    train_on = TrainingLoop.train_on

    def train_or_die(self, batch, step):
        if step == deadly_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return train_on(self, batch, step)

    TrainingLoop.train_on = train_or_die
    run_command("train")


if __name__ == "__main__":
    main()
