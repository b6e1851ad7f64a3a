"""List the brain experiments: `medusis prepare-brain --root DIR [--same-source]`.

The root contains two public sources, one folder each:

- `synthseg_label_maps/training_seg_NN.nii.gz`: label maps of whole heads, without images
  (github.com/BBillot/SynthSeg, `data/training_label_maps`, Apache-2.0);
- `ixi_t1_dlmuse/t1/NAME.nii.gz` and `dlmuse/NAME_DLMUSE.nii.gz`: T1 MR of other heads, and label
  maps of their brains (github.com/CBICA/CCL_NMF_Prediction, `test/input/IXI`; images CC BY-SA 3.0).

`label_source` distinguishes the ids of both; the configuration defines their meaning.
"""

from pathlib import Path
from typing import Annotated

import typer

from medusis_tf.config.subject_globs import expand_globs
from medusis_tf.datasets import (
    Config,
    Out,
    Root,
    Seed,
    Shares,
    check_root,
    finish,
    halve_training,
    split_patients,
)
from medusis_tf.errors import UserError

WHOLE_HEADS = "synthseg_label_maps/training_seg_{subject}.nii.gz"
IMAGES = "ixi_t1_dlmuse/t1/{subject}.nii.gz"
BRAINS = "ixi_t1_dlmuse/dlmuse/{subject}_DLMUSE.nii.gz"


def prepare_brain(
    root: Root,
    out: Out = None,
    same_source: Annotated[
        bool,
        typer.Option(
            "--same-source",
            help="Use label maps of DLMUSE, of other heads than the images, not of SynthSeg.",
        ),
    ] = False,
    config: Config = None,
    splits: Shares = (0.7, 0.0, 0.3),
    seed: Seed = 0,
) -> None:
    """Write the subject list of a brain experiment: label maps of some heads, T1 MR of others.

    The test heads are from IXI and have both. They test inside the brain only, because everything
    around it is background in DLMUSE.
    """
    check_root(root)
    _check_layout(root, same_source)
    glob = {"image": IMAGES, "label_map": BRAINS, "label_source": "dlmuse"}
    heads = split_patients(expand_globs([glob], root), splits, seed)
    if same_source:
        subjects = halve_training(heads, seed)
    else:
        maps = {"label_map": WHOLE_HEADS, "subject": "synthseg_{subject}", "split": "train"}
        whole_heads = expand_globs([{**maps, "label_source": "synthseg"}], root)
        subjects = whole_heads + [_image_only(entry) for entry in heads]
    name = "brain_same_source.csv" if same_source else "brain.csv"
    finish(out or root / name, subjects, root, config, "configs/brain_labels_to_t1.yaml")


def _image_only(entry: dict[str, str]) -> dict[str, str]:
    """Remove the label map of a training head, which would exclude slices outside the brain."""
    if entry["split"] != "train":
        return entry
    return {key: entry[key] for key in entry if key not in ("label_map", "label_source")}


def _check_layout(root: Path, same_source: bool) -> None:
    patterns = [IMAGES, BRAINS] if same_source else [WHOLE_HEADS, IMAGES, BRAINS]
    missing = [p for p in patterns if not any(root.glob(p.replace("{subject}", "*")))]
    if missing:
        raise UserError(
            f"{root} does not contain {' or '.join(missing).replace('{subject}', 'NAME')}. "
            "Sources: github.com/BBillot/SynthSeg and github.com/CBICA/CCL_NMF_Prediction."
        )
