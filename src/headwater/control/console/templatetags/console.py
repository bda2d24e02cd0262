"""What the console's templates need: addresses here, icons, sparklines, counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from headwater.control.console.templatetags.visible import visible

register: Final = template.Library()
ACCOUNT_PAGES: Final[Mapping[str, str]] = {
    "E-mail address": "account_email",
    "Password": "account_change_password",
    "Two-factor authentication": "mfa_index",
    "Sessions": "usersessions_list",
}
ABSENT: Final = "\N{EN DASH}"
TONES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("active", "current", "open", "committed", "enabled", "live", "approved", "serving", "ok"), "good"),
    **dict.fromkeys(("invited", "draft", "in_review", "durable", "behind", "no node yet", "expires soon"), "warn"),
    **dict.fromkeys(("raised", "refused", "revoked", "suspended", "expired", "failed", "quarantined"), "bad"),
}
"""How states are coloured; a state that is not here is grey. Colour never says it alone: the word is always there."""
_CELL: Final = 120
_WIDTH: Final = 96
_HEIGHT: Final = 24


@register.simple_tag(takes_context=True)
def to(context: template.Context, name: str, *args: Any, **options: Any) -> str:
    """Return the address of a page here; ``environment=`` leads to another one's."""
    address: str = context["here"].url(name, *args, **options)
    return address


@register.simple_tag(takes_context=True)
def elsewhere(context: template.Context, environment: Any) -> str:
    """Return the address of the section being read, in another environment; of a page of the organisation: its home."""
    # Loaded when first asked: the registry of pages knows what this module's templates show.
    from headwater.control.console.pages import PAGES  # noqa: PLC0415

    here = context["here"]
    found = PAGES.get(here.section)
    name = found.name if found is not None and not found.whole else "home"
    address: str = here.url(name, environment=environment)
    return address


@register.simple_tag
def account_links() -> list[tuple[str, str]]:
    """Return the pages about one's own account that this installation offers: title and address."""
    found = []
    for title, name in ACCOUNT_PAGES.items():
        with suppress(NoReverseMatch):
            found.append((title, reverse(name)))
    return found


@register.simple_tag
def icon(name: str) -> SafeString:
    """Return a symbol of ``icons.svg``; it is decoration, the text beside it speaks."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("headwater/console/icons.svg"),
        name,
    )


@register.simple_tag
def state(value: str, tone: str = "") -> SafeString:
    """Return a state as a pill; ``tone`` (good, warn, bad, note) is known for the usual words."""
    return format_html('<span class="pill {}">{}</span>', tone or TONES.get(value, ""), value.replace("_", " "))


@register.filter
def count(value: int | None) -> str:
    """Return a number with its thousands apart; a dash for None, which is not nought."""
    return ABSENT if value is None else str(intcomma(value))


@register.filter
def member(mapping: Mapping[str, Any] | None, key: str) -> Any:
    """Return ``mapping[key]``, None where there is none."""
    return mapping.get(key) if mapping else None


@register.simple_tag
def cell(value: Any) -> SafeString:
    """Return a value of a row as text: null is not empty, and long text is cut."""
    if value is None:
        return format_html('<span class="muted">{}</span>', "null")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = visible(text[:_CELL]) or ""
    return format_html("{}{}", shown, "…" if len(text) > _CELL else "")


@register.simple_tag
def sparkline(values: Iterable[float | None], label: str) -> SafeString:
    """Return a small line of ``values``, oldest first; ``label`` says in words what it shows."""
    points = [value for value in values if value is not None]
    if len(points) < 2:  # noqa: PLR2004 - a line has two ends
        return format_html('<span class="muted">{}</span>', ABSENT)
    return format_html(
        '<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}"><polyline points="{}"></polyline></svg>',
        _WIDTH,
        _HEIGHT,
        label,
        _polyline(points),
    )


def _polyline(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    spread = (high - low) or 1
    step = _WIDTH / (len(values) - 1)
    heights = [_HEIGHT - 2 - (value - low) / spread * (_HEIGHT - 4) for value in values]
    return " ".join(f"{step * index:.1f},{height:.1f}" for index, height in enumerate(heights))
