"""The addresses that services ask."""

from __future__ import annotations

from django.urls import path

from headwater.control.snapshots import reports, views

urlpatterns = [
    path("snapshots", views.list_snapshots),
    path("snapshots/<str:environment_id>", views.get_snapshot),
    path("acks", views.acknowledge),
    path("key-uses", views.note_key_uses),
    path("flags/usage", reports.report_usage),
]
