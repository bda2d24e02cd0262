"""Liveness and readiness."""

from __future__ import annotations

from django.urls import path

from headwater.control.kit import health

urlpatterns = [path("livez", health.livez), path("readyz", health.readyz)]
