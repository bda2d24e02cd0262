"""Showing text as it is, with what cannot be seen."""

from __future__ import annotations

import re
from typing import Final

from django import template

register: Final = template.Library()
#: Controls but tab and line ends, invisible spaces, and what turns the direction of the text that follows.
_HIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


@register.filter
def visible(text: str | None) -> str | None:
    """Name characters that would hide or turn others around: a row must read as it came, not as its sender likes."""
    return text and _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)
