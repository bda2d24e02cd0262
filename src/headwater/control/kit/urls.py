"""Liveness and readiness."""

from __future__ import annotations

from django.urls import path

from headwater.control.kit import health, metrics

urlpatterns = [path("livez", health.livez), path("readyz", health.readyz), path("metrics", metrics.metrics)]
