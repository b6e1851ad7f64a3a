"""Options that several commands share: what is judged, and the weight files it is judged by."""

from pathlib import Path
from typing import Annotated

import typer

RunOption = Annotated[Path | None, typer.Option(help="Folder of a run, such as runs/NAME.")]
ModelOption = Annotated[
    Path | None, typer.Option(help="Or an exported model, such as saved_models/NAME.")
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(help="Or a folder of pictures, SUBJECT.nii.gz on the label maps' grids."),
]
InceptionOption = Annotated[
    Path | None, typer.Option(help="Inception weights of pytorch-fid, for FID and KID.")
]
LpipsVggOption = Annotated[
    tuple[Path, Path] | None, typer.Option(help="VGG16 weights and LPIPS heads for them.")
]
LpipsAlexOption = Annotated[
    tuple[Path, Path] | None, typer.Option(help="AlexNet weights and LPIPS heads for them.")
]
