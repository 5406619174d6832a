"""Times as the core writes them, and as Python has them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Union

from ._errors import InvalidInputError

Seconds = Union[timedelta, float, int]
"""A length of time: a `timedelta`, or seconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def instant(text: str) -> datetime:
    """The aware time that RFC 3339 text tells.

    >>> instant("2026-01-02T03:04:05.5Z")
    datetime.datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=datetime.timezone.utc)
    """
    whole, _, fraction = text.removesuffix("Z").partition(".")
    micros = int(f"{fraction:0<6}"[:6])
    return datetime.fromisoformat(whole).replace(microsecond=micros, tzinfo=timezone.utc)


def maybe_instant(text: str | None) -> datetime | None:
    """The time, if there is one."""
    return None if text is None else instant(text)


def of_micros(micros: int) -> datetime:
    """The time so many microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=micros)


def moment(time: datetime, field: str) -> str:
    """RFC 3339 text of an aware time."""
    if time.tzinfo is None:
        why = "a time needs its time zone, as datetime.now(timezone.utc) has"
        raise InvalidInputError(f"{field}: {why}", field)
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def span(time: Seconds, field: str) -> dict[str, int]:
    """A length of time as the core reads it."""
    if not isinstance(time, timedelta):
        try:
            time = timedelta(seconds=time)
        except (OverflowError, ValueError) as error:
            raise InvalidInputError(f"{field}: {error}", field) from None
    if time < timedelta(0):
        raise InvalidInputError(f"{field}: a length of time cannot be negative", field)
    micros = time // timedelta(microseconds=1)
    return {"secs": micros // 1_000_000, "nanos": micros % 1_000_000 * 1_000}


def length(json: Any) -> timedelta:
    """A length of time from what the core writes."""
    return timedelta(seconds=json["secs"], microseconds=json["nanos"] // 1_000)


def settings(value: Any, field: str = "settings") -> Any:
    """Settings as the core reads them: lengths of time in their form, everything else as it is."""
    if isinstance(value, timedelta):
        return span(value, field)
    if isinstance(value, dict):
        return {name: settings(each, f"{field}.{name}") for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [settings(each, field) for each in value]
    return value
