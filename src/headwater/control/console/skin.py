"""The admin's skin: name, colours, navigation. Everything here is configuration of the one skin we use.

The skin needs two allowances in the content security policy, under ``/admin/`` alone: ``'unsafe-eval'``, because its
Alpine build compiles the expressions in its own markup, and inline styles for the theme's colours. Scripts come from
this origin; inline scripts stay forbidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy

_PRIMARY = {
    "50": "#eef8fb",
    "100": "#d5edf5",
    "200": "#b0dcea",
    "300": "#7cc4db",
    "400": "#42a5c5",
    "500": "#1d89ac",
    "600": "#0b6e8f",
    "700": "#0c5974",
    "800": "#114a60",
    "900": "#133e51",
    "950": "#082836",
}


def _at(name: str) -> Callable[[HttpRequest], str]:
    return lambda _request: static(f"headwater/{name}")


def _superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


Permission = Callable[[HttpRequest], bool]


def _item(title: str, icon: str, page: str, *, permission: Permission | None = None) -> dict[str, Any]:
    item: dict[str, Any] = {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{page}")}
    return item | ({"permission": permission} if permission else {})


def _list(title: str, icon: str, model: str, *, permission: Permission | None = None) -> dict[str, Any]:
    return _item(title, icon, f"{model}_changelist", permission=permission)


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Headwater",
    "SITE_HEADER": "Headwater",
    "SITE_SUBHEADER": "Operations",
    "SITE_URL": "/",
    "SITE_ICON": _at("mark.svg"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _at("mark.svg")}],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": False,
    "BORDER_RADIUS": "8px",
    "COLORS": {"primary": _PRIMARY},
    "STYLES": [_at("admin.css")],
    "DASHBOARD_CALLBACK": "headwater.control.console.home.admin_home",
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            {"items": [_item("Overview", "water_drop", "index")]},
            {
                "title": "Data",
                "separator": True,
                "items": [
                    _list("Datasets", "table_rows", "catalog_dataset"),
                    _list("Contracts", "contract", "catalog_contractversion"),
                    _list("Quarantine", "report", "catalog_quarantinecase"),
                    _list("Endpoints", "api", "catalog_endpoint"),
                    _list("Features", "functions", "features_featureview"),
                    _list("Flags", "flag", "flags_flag"),
                ],
            },
            {
                "title": "Models",
                "separator": True,
                "items": [
                    _list("Models", "model_training", "registry_model"),
                    _list("Versions", "deployed_code_history", "registry_modelversion"),
                    _list("Alerts", "notifications", "monitoring_modelalert"),
                ],
            },
            {
                "title": "Decisions",
                "separator": True,
                "items": [
                    _list("Review queues", "inbox", "reviews_reviewqueue"),
                    _list("Review tasks", "fact_check", "reviews_reviewtask"),
                    _list("Decisions", "gavel", "reviews_reviewdecision"),
                    _list("Overrides", "edit_off", "overrides_override"),
                ],
            },
            {
                "title": "Access",
                "separator": True,
                "items": [
                    _list("Organisations", "apartment", "orgs_organization"),
                    _list("Projects", "folder", "orgs_project"),
                    _list("Environments", "dns", "orgs_environment"),
                    _list("Users", "person", "identity_user", permission=_superuser),
                    _list("Members", "group", "orgs_membership"),
                    _list("Invitations", "mail", "identity_invitation"),
                    _list("Domains", "domain_verification", "sso_domain"),
                    _list("Identity providers", "passkey", "sso_identityprovider"),
                    _list("Recovery owners", "emergency", "sso_recoveryowner"),
                    _list("Sign-in policies", "phonelink_lock", "sso_signinpolicy"),
                    _list("Roles", "badge", "access_role"),
                    _list("Grants", "verified_user", "access_grant"),
                    _list("Service accounts", "smart_toy", "access_serviceaccount"),
                    _list("API keys", "key", "access_apikey"),
                ],
            },
            {
                "title": "Operations",
                "separator": True,
                "items": [
                    _list("Audit log", "history", "audit_auditevent"),
                    _list("Snapshots", "photo_camera", "snapshots_snapshot"),
                    _list("Nodes", "lan", "snapshots_snapshotack"),
                    _list("Outbox", "outbox", "kit_outbox", permission=_superuser),
                ],
            },
        ],
    },
}
