"""Images that a browser sends: no larger than they need be, and nothing but images."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any

from ppn.data.images import decode_image
from ppn.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

MOST_BYTES = 20_000_000
"""Of one image's file; a photograph of a telephone has some five million."""
MOST_PIXELS = 60_000_000
"""Of one image, which takes three bytes of memory each."""
_URI = re.compile(r"data:[\w/+.-]*;base64,")


def uploaded(content: str) -> Image.Image:
    """Return an image that a browser has sent as a data URI.

    Raises:
        DataError: If it is too large, or no image.
    """
    head = _URI.match(content[:200])
    if head is None:
        raise DataError("This is not an image: drop a JPEG, PNG or WebP file.")
    if 3 * (len(content) - head.end()) // 4 > MOST_BYTES:
        raise DataError(
            f"The file has more than {MOST_BYTES // 10**6} MB: drop a smaller copy of the image."
        )
    try:
        file = base64.b64decode(content[head.end() :], validate=True)
    except binascii.Error:
        raise DataError("The image did not arrive whole: drop it again.") from None
    return decode_image(file, MOST_PIXELS)


class BodyLimit:
    """Refuses requests whose body is larger than any image's, before they fill the memory.

    Args:
        app: What answers requests, of ASGI.
        most: Largest body in bytes.
    """

    def __init__(self, app: Any, most: int) -> None:  # noqa: ANN401
        self._app = app
        self._most = most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        """Pass a request on, or answer that it is too large."""
        from starlette.responses import PlainTextResponse

        length = dict(scope.get("headers", ())).get(b"content-length", b"0")
        if scope["type"] == "http" and (not length.isdigit() or int(length) > self._most):
            await PlainTextResponse("Too large", 413)(scope, receive, send)
            return
        read = 0

        async def counted() -> Any:  # noqa: ANN401
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return message if read <= self._most else {"type": "http.disconnect"}

        await self._app(scope, counted if scope["type"] == "http" else receive, send)
