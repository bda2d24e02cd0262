"""The addresses that services ask."""

from __future__ import annotations

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
