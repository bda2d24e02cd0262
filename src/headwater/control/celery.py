"""The Celery application: the broker of the settings, the schedule in code.

Tasks are idempotent and short; what must not be lost waits in the outbox or the database, never in the broker.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from celery import Celery, signals
from celery.schedules import crontab
from django.conf import settings as django_settings

from headwater.control import configuration
from headwater.control.bootstrap import setup
from headwater.control.kit.own_apps import own_tasks
from headwater.core.home import Home
from headwater.core.logging import configure_logging
from headwater.core.settings import Settings


def broker_url(settings: Settings) -> str:
    """Return the broker: the one that is set, else the cache's server, else the embedded Valkey's socket."""
    socket = quote(str(Home(settings.home).valkey_socket))
    return settings.broker.url or settings.cache.url or f"redis+socket://{socket}"


setup(configuration.current())
app = Celery("headwater", broker=broker_url(configuration.current()))
app.conf.update(
    imports=[
        "headwater.control.upkeep.tasks",
        "headwater.control.catalog.tasks",
        "headwater.control.registry.tasks",
        "headwater.control.monitoring.tasks",
        "headwater.control.reviews.tasks",
        *own_tasks(django_settings.OWN_APPS),
    ],
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_time_limit=3_600,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 4 * 3_600},
    timezone="UTC",
    beat_schedule_filename=str(configuration.home().run / "beat-schedule"),
    beat_schedule={
        # A beat that was late leaves no queue behind: each run does all there is to do.
        "relay-outbox": {"task": "upkeep.relay_outbox", "schedule": 2.0, "options": {"expires": 2}},
        "reconcile-snapshots": {"task": "upkeep.reconcile_snapshots", "schedule": 10.0, "options": {"expires": 10}},
        "report-failed-logins": {
            "task": "upkeep.report_failed_logins",
            "schedule": 60.0,
            "options": {"expires": 60},
        },
        "sync-quarantine": {"task": "catalog.sync_quarantine", "schedule": 30.0, "options": {"expires": 30}},
        "watch-deployments": {"task": "registry.watch_deployments", "schedule": 10.0, "options": {"expires": 10}},
        "evaluate-models": {"task": "monitoring.evaluate", "schedule": 30.0, "options": {"expires": 30}},
        "sign-audit": {"task": "upkeep.sign_audit", "schedule": 600.0, "options": {"expires": 600}},
        "feed-reviews": {"task": "reviews.feed", "schedule": 10.0, "options": {"expires": 10}},
        "watch-reviews": {"task": "reviews.watch", "schedule": 10.0, "options": {"expires": 10}},
        "deliver-reviews": {"task": "reviews.deliver", "schedule": 2.0, "options": {"expires": 2}},
        "verify-audit": {"task": "upkeep.verify_audit", "schedule": crontab(hour="3", minute="17")},
        "check-ledger": {"task": "upkeep.check_ledger", "schedule": crontab(hour="3", minute="37")},
        "recheck-domains": {"task": "upkeep.recheck_domains", "schedule": crontab(hour="*/6", minute="27")},
        "forget-flag-usage": {"task": "upkeep.forget_flag_usage", "schedule": crontab(hour="3", minute="47")},
        "clear-outbox": {"task": "upkeep.clear_outbox", "schedule": crontab(hour="3", minute="57")},
        "clear-sessions": {"task": "upkeep.clear_sessions", "schedule": crontab(hour="4", minute="7")},
    },
)


@signals.setup_logging.connect
def _log_as_we_do(**_: Any) -> None:
    """Keep Celery from setting up logging its own way."""
    configure_logging(configuration.current().log, process="worker")
