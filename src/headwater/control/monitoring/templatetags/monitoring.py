"""Links to reports."""

from __future__ import annotations

from typing import Final

from django import template

from headwater.control.monitoring import links
from headwater.control.monitoring.models import ModelAlert

register: Final = template.Library()


@register.filter
def report_link(alert: ModelAlert) -> str:
    """Return the address of the report that an alert is about."""
    return links.report_link(alert.version, alert.environment)
