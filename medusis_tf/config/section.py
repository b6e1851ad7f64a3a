"""The base class of every section of a configuration."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen section of a configuration. Unknown keys are rejected.

    The string literal below a field is its description. It appears in the JSON schema and in
    `docs/configuration.md`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
