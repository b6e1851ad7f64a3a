"""Times of alternating functions, and their spread."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """Seconds of several runs; `first` is the first call, which traces and compiles."""

    median: float
    least: float
    lower_quartile: float
    upper_quartile: float
    repeats: int
    first: float

    @classmethod
    def of(cls, first: float, seconds: Sequence[float]) -> "Spread":
        """Spread of the runs after the first."""
        quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if seconds[1:] else None
        lower, _, upper = quartiles or [seconds[0]] * 3
        median = statistics.median(seconds)
        return cls(median, min(seconds), lower, upper, len(seconds), first)

    def by_name(self, name: str) -> dict[str, float]:
        """Values by name, for a table."""
        return {f"{name}_{key}": value for key, value in asdict(self).items()}


def spreads(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, Spread]:
    """Time functions in alternation, so that other load does not affect a single one.

    Each is called twice for warm-up and then `repeats` times. The results are read, so that all
    work is completed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            _read(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: Spread.of(values[0], values[2:]) for name, values in seconds.items()}


def compiled(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Compile a function with TensorFlow for fixed arguments."""
    import tensorflow as tf

    graph_function = tf.function(function, autograph=False)
    return lambda: graph_function(*arguments)


def _read(result: Any) -> None:
    import tensorflow as tf

    tf.nest.map_structure(lambda value: value.numpy(), result)
