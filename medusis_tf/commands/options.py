"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
        min=1, help="Slices per batch of the generator; by default 8 on a GPU and 1 on a CPU."
    ),
]
