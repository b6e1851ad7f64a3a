"""The networks that a configuration can choose from, those of other packages included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Field

from medusis_tf.config.plugins import registered
from medusis_tf.config.section import Section
from medusis_tf.models.discriminator_sections import (
    DiscriminatorSection,
    EnsembleDiscriminatorConfig,
    PatchDiscriminatorConfig,
    ResidualDiscriminatorConfig,
    WaveletDiscriminatorConfig,
)
from medusis_tf.models.sections import (
    GeneratorSection,
    OASISGeneratorConfig,
    TransformerGeneratorConfig,
    UNetSegmenterConfig,
    WaveletGeneratorConfig,
)

# A new network adds its section here; other packages add theirs by an entry point.
GENERATORS: tuple[type[Section], ...] = (
    OASISGeneratorConfig,
    WaveletGeneratorConfig,
    TransformerGeneratorConfig,
    *registered("medusis_tf.generators").values(),
)
DISCRIMINATORS: tuple[type[Section], ...] = (
    WaveletDiscriminatorConfig,
    ResidualDiscriminatorConfig,
    PatchDiscriminatorConfig,
    EnsembleDiscriminatorConfig,
    *registered("medusis_tf.discriminators").values(),
)
SEGMENTERS: tuple[type[Section], ...] = (
    UNetSegmenterConfig,
    *registered("medusis_tf.segmenters").values(),
)


def _one_of(sections: tuple[type[Section], ...], default: str | None = None) -> Any:
    """The type of a setting that is one of some sections, which its `name` picks."""

    def named(values: Any) -> Any:
        # A section without a name is the default one, so that it can set sizes alone.
        return {"name": default, **values} if default and isinstance(values, dict) else values

    if len(sections) == 1:
        return sections[0]
    return Annotated[Union[sections], Field(discriminator="name"), BeforeValidator(named)]  # noqa: UP007


if TYPE_CHECKING:
    GeneratorConfig = GeneratorSection
    DiscriminatorConfig = DiscriminatorSection
    SegmenterConfig = UNetSegmenterConfig
else:
    GeneratorConfig = _one_of(GENERATORS)
    DiscriminatorConfig = _one_of(DISCRIMINATORS, default="wavelet")
    SegmenterConfig = _one_of(SEGMENTERS, default="unet")
