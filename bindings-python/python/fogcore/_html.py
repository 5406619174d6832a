"""Tables for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    chosen: str | None = None,
) -> str:
    """An HTML table; the row that begins with `chosen` stands out.

    >>> table("a < b", [], [])
    '<table><caption>a &lt; b</caption><thead><tr></tr></thead><tbody></tbody></table>'
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = ""
    for row in rows:
        bold = chosen is not None and bool(row) and row[0] == chosen
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        body += f'<tr style="font-weight: bold">{cells}</tr>' if bold else f"<tr>{cells}</tr>"
    caption = f"<caption>{escape(title)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
