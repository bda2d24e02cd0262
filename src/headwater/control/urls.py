"""Every address of the control plane."""

from __future__ import annotations

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("headwater.control.kit.urls")),
    path("internal/v1/", include("headwater.control.snapshots.urls")),
    path("accounts/", include("allauth.account.urls")),
    path("admin/", admin.site.urls),
]
if find_spec("headwater.control.api.urls") is not None:
    urlpatterns.append(path("api/v1/", include("headwater.control.api.urls")))
if find_spec("headwater.control.console.urls") is not None:
    urlpatterns.append(path("", include("headwater.control.console.urls")))
