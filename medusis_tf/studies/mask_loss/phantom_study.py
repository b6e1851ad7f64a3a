"""Phantoms whose training images have a smaller body outline than their label maps.

This is the problem that the mask loss addresses, without any other domain gap. The test subject
has the outline of the label maps.
"""

import logging
from pathlib import Path

from medusis_tf.data.phantom import Build, write_phantom_dataset
from medusis_tf.datasets import write_manifest
from medusis_tf.errors import UserError

logger = logging.getLogger("medusis_tf.phantom_study")

# Anatomy of the subjects with label maps, and of the subjects with images.
PHANTOMS = {
    "thin_fat": (Build(fat=1.5), Build(fat=0.3)),
    "arms": (Build(size=0.68, arm="seen"), Build(size=0.68, arm="cut")),
}
NUM_SUBJECTS = 4


def phantom_overrides(name: str, folder: Path) -> list[str]:
    """Write the volumes of a phantom study unless they exist, and return its overrides.

    Args:
        name: One of `PHANTOMS`.
        folder: Folder of the volumes (`data`) and of the prepared slices (`cache`).

    Returns:
        Overrides for a configuration with the classes of the phantom, such as
        configs/quickstart.yaml.

    Raises:
        UserError: The name is unknown, or the volumes cannot be written.
    """
    if name not in PHANTOMS:
        raise UserError(f"--phantom must be one of {', '.join(PHANTOMS)}. Received: {name}")
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
