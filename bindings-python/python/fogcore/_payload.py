"""What tasks are asked with and give: JSON values, or bytes as they are."""

from __future__ import annotations

import json
from typing import Any, Union

from ._errors import InvalidInputError

Payload = Any
"""A JSON value (None, bool, int, float, str, list, dict), or bytes, which are sent as they are."""

Bytes = Union[bytes, bytearray, memoryview]


def encode(value: Payload, field: str) -> bytes:
    """The bytes that are sent.

    >>> encode([1, "ü"], "payload"), encode(b"raw", "payload")
    (b'[1,"\\xc3\\xbc"]', b'raw')
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        why = f"neither bytes nor a JSON value: {error}"
        raise InvalidInputError(f"{field}: {why}", field) from None


def decode(data: bytes, field: str) -> Any:
    """The JSON value that was sent; nothing at all is None."""
    if not data:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        why = "these bytes are no JSON: take them as they are, from `data`"
        raise InvalidInputError(f"{field}: {why}", field) from None
