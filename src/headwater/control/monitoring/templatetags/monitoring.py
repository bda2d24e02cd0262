"""Links to reports, and numbers as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import template

from headwater.control.monitoring import links
from headwater.control.monitoring.models import ModelAlert
from headwater.control.monitoring.page import metric_name, said

register: Final = template.Library()


@register.filter
def report_link(alert: ModelAlert) -> str:
    """Return the address of the report that an alert is about."""
    return links.report_link(alert.version, alert.environment)


@register.filter
def metrics_text(metrics: Mapping[str, Any]) -> str:
    """Return metrics on one line: ``AUC 0.7123, log loss 0.51``."""
    return ", ".join(f"{metric_name(name)} {said(value)}" for name, value in metrics.items())
