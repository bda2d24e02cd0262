"""From an empty folder to a control plane that can be used; safe to repeat, and quick when nothing is left to do.

Everything here can be called from a process that is not Django's: the command line, a test, the supervisor.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import django
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.apps import apps

from headwater.control import configuration
from headwater.control.kit.database import embedded_database
from headwater.control.kit.own_apps import blaming
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.sealed_snapshot import public_key_text
from headwater.core.settings import Settings

_MIGRATION_LOCK: Final = 0x6865_6164_7761_7465
"""The advisory lock that keeps two machines from migrating one PostgreSQL at once."""


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What a start found or made. Password and key are there only when this very call made them.

    ``strangers`` are environments that services here keep a configuration of and the control database does not know.
    """

    organization: str
    project: str
    environment: str
    environment_id: str
    admin_email: str
    admin_password: str | None
    demo_key: str | None
    created: bool
    strangers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new API key; ``key`` is its text, not to be had again."""

    key: str
    id: str
    prefix: str
    principal: str
    role: str
    environment_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ShownInvitation:
    """An invitation as it stands: pending, expired, accepted or revoked."""

    id: str
    email: str
    role: str
    state: str
    invited_by: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SentInvitation:
    """An invitation and the link that takes it up, which is never to be had again."""

    invitation: ShownInvitation
    link: str
    mailed: bool


@dataclass(frozen=True, slots=True)
class Invitations:
    """Invitations to an organisation, newest first."""

    organization: str
    items: tuple[ShownInvitation, ...]


@dataclass(frozen=True, slots=True)
class CreatedAdmin:
    """An administrator; ``password`` is there only when it was generated here."""

    email: str
    password: str | None
    created: bool


def setup(settings: Settings) -> None:
    """Make this process a Django process with these settings; idempotent.

    Raises:
        HeadwaterError: ``project_invalid`` when a Django app of the project's own cannot be loaded.
    """
    configuration.use(settings)
    os.environ["DJANGO_SETTINGS_MODULE"] = "headwater.control.settings"
    if not apps.ready:
        with blaming(settings.project):
            django.setup()


def prepare(settings: Settings) -> None:
    """Make the home, its secrets and the database's tables, whichever of them are missing.

    Raises:
        HeadwaterError: ``home_unusable``, ``home_version``, or ``config_unavailable`` when the database is away.
    """
    home = Home(settings.home)
    home.prepare()
    with _lock(home):
        make_secrets(home)
        setup(settings)
        _migrate()


def bootstrap(settings: Settings) -> FirstStart:
    """Prepare, then make what the target of ``settings`` lacks: organisation, project, environment, owner, demo key."""
    prepare(settings)
    from headwater.control import start  # noqa: PLC0415 - models need Django to be set up

    with _lock(Home(settings.home)):
        return start.ensure_target(settings)


def ensure_environment(settings: Settings) -> None:
    """Prepare, then make the target's organisation, project and environment if they are missing, and nothing else.

    The owner, their password and this machine's key are left to ``bootstrap``, whose caller shows them.
    """
    prepare(settings)
    from headwater.control import start  # noqa: PLC0415

    with _lock(Home(settings.home)):
        start.ensure_environment(settings)


@contextmanager
def rehearsal(settings: Settings) -> Iterator[Settings]:
    """Lend settings under which the target exists and everything may be tried, because nothing of it stays.

    The home is a throw-away one with a copy of the embedded database. A database server is used as it is, in a
    transaction that is rolled back; its tables must be this release's already.

    Raises:
        HeadwaterError: ``home_version``, or ``config_unavailable`` when the database is away or not migrated yet.
    """
    with tempfile.TemporaryDirectory(prefix="headwater-plan-", ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder) / "home")
        home.prepare()
        make_secrets(home)
        given = {"home": home.root, "artifacts": settings.artifacts.model_copy(update={"url": None})}
        trial = settings.model_copy(update=given)
        embedded = embedded_database(settings.database.url, Home(settings.home))
        if embedded is not None:
            trial = trial.model_copy(update={"database": settings.database.model_copy(update={"url": None})})
            _copy_database(embedded, home.control_database)
        setup(trial)
        _migrate(may_change=embedded is not None)
        from django.db import connections, transaction  # noqa: PLC0415 - Django is set up now

        from headwater.control import start  # noqa: PLC0415

        try:
            with transaction.atomic():
                start.ensure_environment(trial)
                yield trial
                transaction.set_rollback(True)
        finally:
            connections.close_all()


def _copy_database(source: Path, target: Path) -> None:
    """Copy an embedded database as it stands, also while others write to it; nothing is there if nothing was."""
    if not source.exists():
        return
    try:
        with closing(sqlite3.connect(source, timeout=10)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    except sqlite3.Error as error:
        raise HeadwaterError(
            "config_unavailable",
            f"the control database {source} cannot be read: {error}",
            hint="see `headwater doctor`",
        ) from error


def create_key(
    settings: Settings,
    name: str,
    role: str,
    *,
    scopes: tuple[str, ...] = (),
    expires_at: datetime | None = None,
    limits: Mapping[str, float] | None = None,
) -> CreatedKey:
    """Make a service account called ``name`` with ``role`` in the target's project, if there is none, and a key for it.

    Raises:
        HeadwaterError: ``not_found`` for an unknown role, ``conflict`` when the account exists with another role.
    """
    ensure_environment(settings)
    from headwater.control import start  # noqa: PLC0415

    return start.create_key(settings, name, role, scopes=scopes, expires_at=expires_at, limits=limits)


def create_admin(settings: Settings, email: str, password: str | None = None) -> CreatedAdmin:
    """Make an administrator and owner of the target's organisation, or give an existing user that and a new password.

    Raises:
        HeadwaterError: ``invalid_parameter`` for a bad address or a weak password.
    """
    prepare(settings)
    from headwater.control import start  # noqa: PLC0415

    with _lock(Home(settings.home)):
        return start.create_admin(settings, email, password)


def invite_user(settings: Settings, email: str, role: str, *, mail: bool = False) -> SentInvitation:
    """Invite an address to the target's organisation; somebody who is invited already gets another link.

    Raises:
        HeadwaterError: ``not_found`` for an unknown role, ``conflict`` for a member or for another role than the one
            offered already, ``invalid_parameter``, ``mail_unavailable``.
    """
    ensure_environment(settings)
    from headwater.control import start  # noqa: PLC0415

    return start.invite_user(settings, email, role, mail=mail)


def list_invitations(settings: Settings) -> Invitations:
    """Return the invitations to the target's organisation, newest first."""
    ensure_environment(settings)
    from headwater.control import start  # noqa: PLC0415

    return start.list_invitations(settings)


def make_secrets(home: Home) -> None:
    """Write the secrets that a home lacks, each readable by its owner only."""
    if not home.django_secret.exists():
        home.write_secret(home.django_secret, secrets.token_urlsafe(50).encode())
    if not home.node_token.exists():
        home.write_secret(home.node_token, secrets.token_urlsafe(32).encode())
    if not home.snapshot_private_key.exists():
        key = Ed25519PrivateKey.generate()
        # The public half first: services that see a private key may rely on both.
        home.write_secret(home.snapshot_public_key, public_key_text(key).encode())
        home.write_secret(home.snapshot_private_key, base64.b64encode(key.private_bytes_raw()))
    elif not home.snapshot_public_key.exists():
        private = base64.b64decode(home.snapshot_private_key.read_bytes())
        key = Ed25519PrivateKey.from_private_bytes(private)
        home.write_secret(home.snapshot_public_key, public_key_text(key).encode())


def _migrate(*, may_change: bool = True) -> None:
    """Bring the database to this release's tables, if it ``may_change``; refuse one that a newer release touched."""
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import DatabaseError, connection  # noqa: PLC0415
    from django.db.migrations.executor import MigrationExecutor  # noqa: PLC0415

    try:
        with _database_lock(connection):
            executor = MigrationExecutor(connection)
            unknown = {
                (app, name)
                for app, name in set(executor.loader.applied_migrations) - set(executor.loader.disk_migrations)
                if app in executor.loader.migrated_apps
            }
            if unknown:
                raise HeadwaterError(
                    "home_version",
                    f"a newer Headwater has changed the control database ({'.'.join(min(unknown))})",
                    hint="use that release, or restore a backup made by this one",
                )
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                if not may_change:
                    raise HeadwaterError(
                        "config_unavailable",
                        "the control database does not have this release's tables yet",
                        hint="start `headwater up` or `headwater serve control` once; it migrates the database",
                    )
                call_command("migrate", verbosity=0, interactive=False)
    except DatabaseError as error:
        raise HeadwaterError(
            "config_unavailable",
            f"the control database cannot be used: {str(error).strip()}",
            hint="check database.url, and that the server runs",
        ) from error
    if connection.vendor == "sqlite" and connection.settings_dict["NAME"]:
        Path(connection.settings_dict["NAME"]).chmod(0o600)


@contextmanager
def _database_lock(connection: Any) -> Iterator[None]:
    """Hold other machines off a shared database; the home's own lock does for SQLite."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK])


@contextmanager
def _lock(home: Home) -> Iterator[None]:
    """Let one process at a time prepare a home; the others wait and find it done."""
    with (home.run / "bootstrap.lock").open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
