"""The console's addresses."""

from __future__ import annotations

from django.urls import path

from headwater.control.console.home import console_home

urlpatterns = [path("", console_home, name="home")]
