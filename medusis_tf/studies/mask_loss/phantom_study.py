"""Phantoms whose images tell a wrong outline: what the mask loss is for, with nothing else wrong.

The label maps and the test subject show what the training images never do.
"""

import logging
from pathlib import Path

from medusis_tf.data.phantom import Build, write_phantom_dataset
from medusis_tf.datasets import write_manifest
from medusis_tf.errors import UserError

logger = logging.getLogger("medusis_tf.phantom_study")

# How the subjects with label maps are built, and those with images.
PHANTOMS = {
    "thin_fat": (Build(fat=1.5), Build(fat=0.3)),
    "arms": (Build(size=0.68, arm="seen"), Build(size=0.68, arm="cut")),
}
NUM_SUBJECTS = 4


def phantom_overrides(name: str, folder: Path) -> list[str]:
    """Draw the volumes of a phantom study, if they are not there, and name their experiment.

    Args:
        name: One of `PHANTOMS`.
        folder: The volumes go to `folder/data`, the prepared slices to `folder/cache`.

    Returns:
        Overrides for a configuration with the classes of the phantom, as configs/quickstart.yaml.

    Raises:
        UserError: There is no such phantom, or the volumes cannot be written.
    """
    if name not in PHANTOMS:
        raise UserError(f"--phantom is one of {', '.join(PHANTOMS)}. Received: {name}")
    data = folder / "data"
    manifest = data / f"{name}.csv"
    if not manifest.is_file():
        logger.info("writing phantom volumes to %s", data)
        label_build, image_build = PHANTOMS[name]
        subjects = write_phantom_dataset(
            data,
            NUM_SUBJECTS,
            NUM_SUBJECTS,
            label_build=label_build,
            image_build=image_build,
            with_pairs=True,
        )
        entries = [entry.model_dump(mode="json", exclude_defaults=True) for entry in subjects]
        write_manifest(manifest, entries)
    return [
        f"name={name}",
        f"data.root={data}",
        f"data.manifest={manifest}",
        f"data.cache_dir={folder / 'cache'}",
    ]
