"""HTML that cannot be broken by what is put into it: everything is escaped unless it was made here."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = {"img", "meta", "br", "hr", "input", "col"}


class Markup(str):
    """Text that is HTML already. Adding plain text to it gives plain text, which is escaped when it is used."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element with escaped children and attributes.

    Args:
        name: of the element.
        children: text (escaped), :class:`Markup`, numbers, iterables of these; None is left out.
        attributes: a trailing underscore is dropped and others become hyphens (``class_``, ``data_tip``); None and
            False leave the attribute out, True gives it without a value.

    >>> tag("b", "1 < 2", class_="x")
    '<b class="x">1 &lt; 2</b>'
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(key if value is True else f'{key}="{html.escape(str(value), quote=True)}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(children: Iterable[object]) -> Markup:
    """Children one after the other, escaped as in :func:`tag`."""
    return Markup("".join(_text(child) for child in children))


def _text(child: object) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return html.escape(child)
    if isinstance(child, Iterable):
        return join(child)
    return html.escape(str(child))
