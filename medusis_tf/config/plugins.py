"""What other installed packages add: methods, networks, metrics."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from medusis_tf.errors import UserError


def registered(group: str) -> dict[str, Any]:
    """Load the entry points of a group, by name.

    A package offers a generator, for example, with these lines in its `pyproject.toml`:

        [project.entry-points."medusis_tf.generators"]
        my_generator = "my_package.sections:MyGeneratorConfig"

    The module of a network's section must not import a method: it is loaded while the
    configuration of Med-USIS is put together.

    Args:
        group: `medusis_tf.methods`, `medusis_tf.generators`, `medusis_tf.discriminators`,
            `medusis_tf.segmenters` or `medusis_tf.metrics`.

    Raises:
        UserError: An entry point cannot be loaded.
    """
    return {point.name: _load(point) for point in sorted(entry_points(group=group))}


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:  # another package's code
        package = point.dist.name if point.dist else "an installed package"
        raise UserError(
            f"{point.name} of {package} cannot be loaded ({point.group}, {point.value}): "
            f"{type(error).__name__}: {error}. Repair or uninstall that package."
        ) from error
