"""Numbers as text, JSON and templates for reports."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medusis_tf.errors import UserError
from medusis_tf.files import replacing

if TYPE_CHECKING:
    from jinja2 import Environment

_MINUS = "\N{MINUS SIGN}"
_NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"
_TIMES = " \N{MULTIPLICATION SIGN} "


def count(number: int) -> str:
    """A whole number with separated thousands: `12,345`."""
    return _signed(f"{number:,}")


def significant(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits, without trailing zeros: `0.0512`, `1,240`."""
    if value == 0 or not math.isfinite(value):
        return _signed(f"{value:g}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return _signed(text.rstrip("0").rstrip(".") if "." in text else text)


def percent(fraction: float) -> str:
    """A fraction in percent, two significant digits below 10 %: `81.4 %`, `0.0025 %`."""
    digits = 3 if fraction >= 0.1 else 2
    return f"{significant(100 * fraction, digits)}{_NARROW_SPACE}%"


def millimetres(value: float) -> str:
    """A length to a hundredth of a millimetre, without its unit: `0.98`, `5`."""
    return _signed(f"{value:.2f}".rstrip("0").rstrip("."))


def times(values: Sequence[str | int]) -> str:
    """Sizes along several axes: `512 x 512 x 80`, with a multiplication sign."""
    return _TIMES.join(str(value) for value in values)


def file_size(num_bytes: int) -> str:
    """A number of bytes in a unit with at most four digits: `3.4 MB`."""
    value, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{significant(value, 2 if value < 100 else 3)}{_NARROW_SPACE}{unit}"


def _signed(text: str) -> str:
    return text.replace("-", _MINUS)


def strict_json(value: Any) -> str:
    """Indented JSON of nested values; NaN and infinity, which JSON does not have, become null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def template_environment(*folders: str) -> Environment:
    """The templates of this folder; values are escaped, and missing values are errors.

    Args:
        *folders: Further folders of the package with templates.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader("medusis_tf", each) for each in ("reports", *folders)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, page: str) -> None:
    """Write a page of text; an existing file is replaced, and kept if writing fails.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write the report {path}: {error.strerror}. Choose a writable folder."
        ) from None
