"""Access as a Django app."""

from __future__ import annotations

from django.apps import AppConfig

from headwater.control.kit.hooks import plug


class AccessConfig(AppConfig):
    """Roles, grants, service accounts, keys; decides who may act."""

    name = "headwater.control.access"
    label = "access"

    def ready(self) -> None:
        """Become the authorizer of actions."""
        import headwater.control.access.groups  # noqa: PLC0415
        import headwater.control.access.members  # noqa: PLC0415
        import headwater.control.access.roles  # noqa: F401, PLC0415 - they register their actions
        from headwater.control.access.authority import authorize  # noqa: PLC0415 - models load after apps

        plug(authorizer=authorize)
