"""HTML and SVG elements. Text is escaped when it becomes content, so nobody can forget to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tcplb.loadgen.reports.figures import printable


class Markup(str):
    """Text that is HTML already. All other text is text, and is escaped."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: str | float | None) -> Markup:
    """Return an element. Of attributes, `class_` is class and `_` is -; those that are None go."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{joined(content)}</{tag}>")


def joined(content: Iterable[str]) -> Markup:
    """Return content without an element around it."""
    return Markup(
        "".join(part if isinstance(part, Markup) else escape(printable(part)) for part in content)
    )


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1
) -> Markup:
    """Return a table that scrolls by itself; the first cell of each row is its header.

    The first `left` columns are words, and flush left; the others are numbers, and flush right.
    """
    kinds = ["words" if place < left else None for place in range(len(header))]
    head = [
        element("th", cell, scope="col", class_=kind)
        for cell, kind in zip(header, kinds, strict=True)
    ]
    body = [_row(cells, kinds) for cells in rows]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    # What scrolls must be within reach of the keyboard.
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _row(cells: Sequence[str], kinds: Sequence[str | None]) -> Markup:
    first = element("th", cells[0], scope="row", class_=kinds[0])
    rest = zip(cells[1:], kinds[1:], strict=True)
    return element("tr", first, *(element("td", cell, class_=kind) for cell, kind in rest))


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return escape(printable(value))
    return f"{value:.1f}".removesuffix(".0")
