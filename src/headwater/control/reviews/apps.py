"""Reviews as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ReviewsConfig(AppConfig):
    """Queues, tasks and decisions."""

    name = "headwater.control.reviews"
    label = "reviews"
    verbose_name = "Reviews"
