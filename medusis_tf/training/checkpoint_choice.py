"""Which checkpoint of a run is meant."""

from enum import StrEnum


class CheckpointChoice(StrEnum):
    """The last one that was saved, or the one that did best on the validation patients."""

    NEWEST = "newest"
    BEST = "best"
