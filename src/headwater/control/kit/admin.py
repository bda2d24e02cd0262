"""The outbox in the admin: events that wait to be published, or were."""

from __future__ import annotations

from django.contrib import admin

from headwater.control.console.long_lists import LongListAdmin, RecentValuesFilter
from headwater.control.kit.models import Outbox


@admin.register(Outbox)
class OutboxAdmin(LongListAdmin):
    """Events on their way out; superusers alone see them."""

    list_display = ("created_at", "topic", "key", "published_at", "attempts", "last_error")
    list_filter = (("topic", RecentValuesFilter),)
    list_defer = ("payload",)
    search_fields = ("topic", "key")
