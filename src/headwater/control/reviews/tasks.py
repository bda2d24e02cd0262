"""The regular tasks of reviews. Each can run twice, late or never without harm."""

from __future__ import annotations

from celery import shared_task

from headwater.control.orgs.models import Environment, Organization
from headwater.control.reviews.delivery import deliver_pending
from headwater.control.reviews.feeding import feed, note_cursor
from headwater.control.reviews.models import ReviewCursor, ReviewQueue
from headwater.control.reviews.plane import ReviewPlane, connect_reviews
from headwater.control.reviews.watch import watch
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger

_log = get_logger(__name__)


@shared_task(name="reviews.feed")
def feed_queues() -> int:
    """Open what is new for every queue; return how many tasks. While services are away, things wait there."""
    queues = ReviewQueue.unscoped.filter(archived_at=None, org__status=Organization.Status.ACTIVE)
    opened = 0
    try:
        with connect_reviews() as services:
            for queue in queues.select_related("project", "org", "form").order_by("id"):
                for environment in Environment.objects.for_org(queue.org_id).filter(project_id=queue.project_id):
                    if queue.watches(environment):
                        opened += _feed(services, queue, environment)
    except HeadwaterError as error:
        _log.debug("queues_not_fed", problem=error.detail)
    return opened


@shared_task(name="reviews.watch")
def watch_tasks() -> dict[str, int]:
    """Free what nobody holds any more, escalate what is due, expire what is old."""
    return watch()


@shared_task(name="reviews.deliver")
def deliver_outcomes() -> int:
    """Carry out the verdicts that wait; return how many."""
    return deliver_pending()


def _feed(services: ReviewPlane, queue: ReviewQueue, environment: Environment) -> int:
    """Feed one queue; what is wrong with it keeps no other from being fed."""
    try:
        return feed(services, queue, environment)
    except HeadwaterError as error:
        cursor, _ = ReviewCursor.objects.get_or_create(queue=queue, environment=environment)
        note_cursor(cursor, problem=f"{error.code}: {error.detail}")
        if error.code == "services_unavailable":
            raise
    except Exception as error:  # noqa: BLE001 - as above
        _log.exception("feeding_failed", queue=queue.public_id, environment=environment.public_id)
        cursor, _ = ReviewCursor.objects.get_or_create(queue=queue, environment=environment)
        note_cursor(cursor, problem=f"feeding it failed: {type(error).__name__}")
    return 0
