"""The base class of every section of a configuration, and the limits of names and numbers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from medusis_tf.config.limits import LARGEST_BATCH, LARGEST_STEPS, LARGEST_WEIGHT

# Larger numbers are mistakes. They would pass every other check and end in a full memory.
Channels = Annotated[int, Field(gt=0, le=2048)]
"""Number of feature maps of a layer."""
Steps = Annotated[int, Field(gt=0, le=LARGEST_STEPS)]
"""Number of training steps."""
Batch = Annotated[int, Field(gt=0, le=LARGEST_BATCH)]
"""Number of slices in a training step."""
Weight = Annotated[float, Field(ge=0, le=LARGEST_WEIGHT)]
"""Weight of a loss term."""
Name = Annotated[str, Field(min_length=1)]
"""Name of a class or of one of its sources."""
Channel = Annotated[int, Field(ge=0, le=255)]
"""Red, green or blue of a colour."""
FileName = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Name that files and folders have, too; they add endings, and file systems allow 255 bytes."""


class Section(BaseModel):
    """A frozen section of a configuration. Unknown keys and infinite numbers are rejected.

    The string literal below a field is its description. It appears in the JSON schema and in
    `docs/configuration.md`.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
