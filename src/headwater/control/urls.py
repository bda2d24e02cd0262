"""Every address of the control plane."""

from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from headwater.control.kit.own_apps import own_urls

admin.autodiscover()
# Tables of libraries are changed by our actions alone, never by the forms that come with them.
for _model in list(admin.site._registry):  # noqa: SLF001 - there is no public list
    if _model.__module__.startswith(("allauth.", "django.contrib.")):
        admin.site.unregister(_model)
# One login page for everybody; staff who are not logged in are sent there and back.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("", include("headwater.control.kit.urls")),
    path("internal/v1/", include("headwater.control.snapshots.urls")),
    path("accounts/", include("headwater.control.identity.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("headwater.control.api.urls")),
    path("apps/", include(own_urls(settings.OWN_APPS))),
    path("", include("headwater.control.console.urls")),
]
