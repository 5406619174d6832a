"""Exact amounts: `Decimal` or text in, `Decimal` out, never a float."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Union


@dataclass(frozen=True)
class Asset:
    """What an account counts: a code, and the number of decimals of its base unit.

    >>> str(Asset("FOG", 18))
    'FOG'
    """

    code: str
    scale: int

    def __str__(self) -> str:
        return self.code

    @classmethod
    def _of(cls, json: Any) -> Asset:
        return cls(json["code"], json["scale"])


Money = Union[Decimal, str, int]
"""An amount of money: a `Decimal`, a decimal text such as ``"2.5"``, or a whole number."""

# More digits than 2**128 base units can have, so that nothing is ever rounded.
_EXACT = Context(prec=64)
_ONE = Decimal(1)


def text(amount: Money) -> str:
    """The decimal text of an amount; the core checks that its asset can express it.

    >>> text(Decimal("2.50")), text("1e3"), text(7)
    ('2.50', '1e3', '7')
    >>> text(0.1)
    Traceback (most recent call last):
    ...
    TypeError: an amount must be a Decimal, a str or an int, not float: floats are not exact
    """
    if isinstance(amount, str):
        return amount
    if isinstance(amount, Decimal):
        return str(amount).lower()
    if isinstance(amount, int) and not isinstance(amount, bool):
        return str(amount)
    found = type(amount).__name__
    why = ": floats are not exact" if isinstance(amount, float) else ""
    raise TypeError(f"an amount must be a Decimal, a str or an int, not {found}{why}")


def decimal(base_units: str, asset: Asset) -> Decimal:
    """The amount that so many base units are, without zeros at its end.

    >>> decimal("2500", Asset("USD", 2)), decimal("0", Asset("FOG", 18))
    (Decimal('25'), Decimal('0'))
    """
    amount = _EXACT.normalize(_EXACT.scaleb(Decimal(base_units), -asset.scale))
    whole = amount.as_tuple().exponent
    return _EXACT.quantize(amount, _ONE) if isinstance(whole, int) and whole > 0 else amount
