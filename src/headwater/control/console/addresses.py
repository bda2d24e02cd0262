"""How the console's addresses name places."""

from __future__ import annotations

from django.urls import register_converter

from headwater.core.setting_sections import SLUG


class PlaceConverter:
    """The slug of an organisation, project or environment: it starts with a letter, so ``-`` is never one."""

    regex = SLUG.removeprefix("^").removesuffix("$")

    def to_python(self, value: str) -> str:
        """Return the slug."""
        return value

    def to_url(self, value: str) -> str:
        """Return the slug."""
        return value


register_converter(PlaceConverter, "place")
