"""How a measured cost grows: a fixed cost, and a power of the amount of work."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# A cost grows if that of the largest n exceeds the least by this fraction: the rest is noise.
FLAT = 0.1
_EXPONENTS = np.linspace(0.05, 4, 80)


class Growth(NamedTuple):
    """Growth of a cost with the amount of work n.

    Attributes:
        fixed: a >= 0 of the line a + b n, in the unit of the cost.
        per_item: b of that line: cost of one more item.
        slope: p of the curve a' + c n^p with a' >= 0. 0 if the cost does not grow.
        last_slope: The exponent between the two largest n, after `fixed` is subtracted.
    """

    fixed: float
    per_item: float
    slope: float
    last_slope: float


def fit(points: Sequence[tuple[float, float]]) -> Growth:
    """Fit both curves by least squares of relative residuals.

    Residuals are relative because the noise of a time grows with the time. A fixed cost is never
    negative: else the line would hide a square.

    Args:
        points: n and its cost, at least two, all above 0.
    """
    amounts, costs = np.array(sorted(points), float).T
    _, fixed, per_item = _fitted(amounts, costs, 1.0)
    if costs[-1] < (1 + FLAT) * costs.min():
        return Growth(fixed, per_item, 0.0, 0.0)
    return Growth(fixed, per_item, _exponent(amounts, costs), _last(amounts, costs - fixed))


def _fitted(amounts: np.ndarray, costs: np.ndarray, exponent: float) -> tuple[float, float, float]:
    """Residual, a and c of the best a + c n^exponent."""
    from scipy.optimize import nnls

    # Powers of n / the largest n, so that both columns are of one size.
    powers = (amounts / amounts[-1]) ** exponent
    columns = np.stack([np.ones_like(powers), powers], axis=1) / costs[:, np.newaxis]
    (fixed, factor), residual = nnls(columns, np.ones_like(costs))
    return float(residual), float(fixed), float(factor / amounts[-1] ** exponent)


def _exponent(amounts: np.ndarray, costs: np.ndarray) -> float:
    from scipy.optimize import minimize_scalar

    residuals = [_fitted(amounts, costs, each)[0] for each in _EXPONENTS]
    best = int(np.argmin(residuals))
    ends = _EXPONENTS[max(best - 1, 0)], _EXPONENTS[min(best + 1, len(_EXPONENTS) - 1)]
    found = minimize_scalar(
        lambda exponent: _fitted(amounts, costs, exponent)[0],
        bounds=ends, method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    return float(found.x)


def _last(amounts: np.ndarray, rest: np.ndarray) -> float:
    """Exponent between the two largest n; NaN if the fixed cost is all of the smaller one."""
    if rest[-2] <= 0 or rest[-1] <= 0:
        return float("nan")
    return float(np.log(rest[-1] / rest[-2]) / np.log(amounts[-1] / amounts[-2]))
