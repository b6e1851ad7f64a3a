"""Images inside an HTML page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def data_url(image: Image, file_format: str, **options: int) -> str:
    """Encode an image as a `data:` URL.

    Args:
        image: Image to encode.
        file_format: `JPEG` or `PNG`.
        **options: Options of Pillow's writer, such as `quality`.
    """
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{file_format.lower()};base64,{encoded}"
