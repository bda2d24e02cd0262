"""The outbox in the admin: events that wait to be published, or were."""

from __future__ import annotations

from django.contrib import admin

from headwater.control.console.model_admin import ConsoleModelAdmin
from headwater.control.kit.models import Outbox


@admin.register(Outbox)
class OutboxAdmin(ConsoleModelAdmin):
    """Events on their way out; superusers alone see them."""

    list_display = ("created_at", "topic", "key", "published_at", "attempts", "last_error")
    list_filter = ("topic",)
    search_fields = ("topic", "key")
    ordering = ("-created_at",)
