"""Options that several commands share: what is evaluated, and weight files to evaluate with."""

from pathlib import Path
from typing import Annotated

import typer

RunOption = Annotated[Path | None, typer.Option(help="Folder of a run, such as runs/NAME.")]
ModelOption = Annotated[
    Path | None, typer.Option(help="Folder of an exported model, such as saved_models/NAME.")
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(help="Folder of images, SUBJECT.nii.gz on the grids of the label maps."),
]
InceptionOption = Annotated[
    Path | None, typer.Option(help="Inception weights of pytorch-fid, for FID and KID.")
]
LpipsVggOption = Annotated[
    tuple[Path, Path] | None, typer.Option(help="Weights of VGG16 and of its LPIPS heads.")
]
LpipsAlexOption = Annotated[
    tuple[Path, Path] | None, typer.Option(help="Weights of AlexNet and of its LPIPS heads.")
]
