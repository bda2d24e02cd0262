"""The words of text tiles: a safe part of Markdown, as HTML and as plain lines for images."""

from __future__ import annotations

from functools import cache
from typing import Final

from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

_RULES: Final = ("heading", "list", "emphasis", "link", "backticks", "newline", "escape", "entity", "hr", "blockquote")
_SCHEMES: Final = ("https://", "http://", "mailto:", "/")
_DEEPEST: Final = 6


@cache
def _reader() -> MarkdownIt:
    # From nothing upwards: no HTML, no images, no fences that could carry either.
    reader = MarkdownIt("zero", {"html": False, "linkify": False}).enable([*_RULES])
    reader.validateLink = _is_harmless  # type: ignore[method-assign]
    return reader


def _is_harmless(url: str) -> bool:
    return url.strip().lower().startswith(_SCHEMES) and not url.startswith("//")


def to_html(text: str, *, titled: bool) -> SafeString:
    """Return Markdown as HTML. Headings come below the own one of a tile that is ``titled``; links leave no trace."""
    reader = _reader()
    tokens = reader.parse(text)
    for token in tokens:
        _settle(token, 3 if titled else 2)
    # Made by a reader that passes no HTML on and escapes every text.
    made: SafeString = mark_safe(reader.renderer.render(tokens, reader.options, {}))  # noqa: S308
    return made


def _settle(token: Token, first: int) -> None:
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(max(int(token.tag[1:]) + first - 2, first), _DEEPEST)}"
    if token.type == "link_open":
        token.attrSet("rel", "noopener noreferrer nofollow")
    for child in token.children or ():
        _settle(child, first)


def to_lines(text: str) -> list[tuple[str, bool]]:
    """Return Markdown as plain lines, each with whether it is a heading."""
    lines: list[tuple[str, bool]] = []
    is_heading = False
    for token in _reader().parse(text):
        is_heading = token.type == "heading_open" or (is_heading and token.type != "heading_close")
        if token.type == "inline":
            shown = "".join(" " if child.type == "softbreak" else child.content for child in token.children or ())
            lines.append((shown, is_heading))
    return lines
