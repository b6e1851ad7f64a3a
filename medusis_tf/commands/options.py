"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.limits import LARGEST_BATCH
from medusis_tf.errors import UserError

ConfigOption = Annotated[
    Path,
    typer.Option(
        help="YAML file of the experiment, or the name of a packaged one (see `medusis configs`)."
    ),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[key=value]...", help="Changes to the configuration: training.steps=200."
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=LARGEST_BATCH,
        help="Slices per batch of the generator; by default 8 on a GPU, on a CPU 4 of 128x128 or "
        "less and 1 of 256x256.",
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N", help="Do only share I of N, from 1/N to N/N, in an array job of a cluster."
    ),
]


def parse_shard(text: str | None) -> slice | None:
    """Return the share of `--shard I/N` as a slice: every N-th entry.

    Raises:
        UserError: It is no share.
    """
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f"--shard must be I/N with 1 <= I <= N, such as 3/8. Received: {text!r}")
    return slice(int(number) - 1, None, int(count))
