"""Rows that belong to somebody, and the guards around them.

Two mistakes are made impossible rather than unlikely. A query over a tenant's table without saying whose rows are
meant raises: views write ``Model.objects.for_org(org)``, and code that really means every tenant writes
``Model.unscoped``. A write outside an action raises: rows are made with ``save()`` and changed with ``change()``, both
of which note what they did for the audit row of the action that runs.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any, ClassVar, NoReturn, TypeVar

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.utils import timezone

from headwater.control.kit.context import current_action, is_bookkeeping
from headwater.control.kit.plain import plain_fields
from headwater.core.errors import HeadwaterError
from headwater.core.ids import format_id, new_uuid, parse_id

M = TypeVar("M", bound=models.Model)


class UnscopedQuery(RuntimeError):
    """A tenant's table was asked without saying whose rows are meant."""


class UnauditedWrite(RuntimeError):
    """A row was about to change outside an action, so without an audit row."""


class GuardedQuerySet(models.QuerySet[M]):
    """A query set that refuses to write in bulk: such writes would leave no trace."""

    def update(self, **kwargs: Any) -> int:
        """Update rows in bookkeeping only."""
        return super().update(**kwargs) if is_bookkeeping() else self._refuse("update")

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete rows in bookkeeping only."""
        return super().delete() if is_bookkeeping() else self._refuse("delete")

    def bulk_create(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse: rows are made one by one, each with its trace."""
        self._refuse("bulk_create")

    def bulk_update(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse: rows are changed one by one, each with its trace."""
        self._refuse("bulk_update")

    def _refuse(self, verb: str) -> NoReturn:
        raise UnauditedWrite(f"{self.model.__name__}: {verb} leaves no audit row; use save(), change() or remove()")


class UnscopedManager(models.Manager[M]):
    """Every tenant's rows: for machinery, never for a view."""

    def get_queryset(self) -> GuardedQuerySet[M]:
        """Return all rows."""
        return GuardedQuerySet(self.model, using=self._db)


class TenantManager(models.Manager[M]):
    """One organisation's rows."""

    def get_queryset(self) -> NoReturn:
        """Refuse to answer without an organisation."""
        name = self.model.__name__
        raise UnscopedQuery(f"whose {name} rows? use {name}.objects.for_org(org), or {name}.unscoped and mean it")

    def for_org(self, org: models.Model | uuid.UUID) -> GuardedQuerySet[M]:
        """Return the rows of ``org``."""
        return GuardedQuerySet(self.model, using=self._db).filter(org=org)


class Entity(models.Model):
    """A row with a time-ordered id, shown under the prefix of its kind, and an optimistic lock."""

    prefix: ClassVar[str]

    id = models.UUIDField(primary_key=True, default=new_uuid, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revision = models.PositiveIntegerField(default=1, editable=False)

    unscoped: ClassVar[UnscopedManager[Any]] = UnscopedManager()

    class Meta:
        """Abstract: every app's models derive from it."""

        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the row. Inside an action only.

        Raises:
            HeadwaterError: ``conflict`` when it exists already, ``invalid_parameter`` naming the bad field.
            UnauditedWrite: no action runs, or the row exists and ought to be changed with ``change()``.
        """
        context = current_action()
        if context is None or not self._state.adding:
            raise UnauditedWrite(f"{type(self).__name__} is saved by actions, once; use change() afterwards")
        _validate(self)
        super().save(*args, **kwargs)
        context.note_created(self, plain_fields(self, _audited(self)))

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse: ``remove`` notes what it deletes."""
        raise UnauditedWrite(f"{type(self).__name__} is removed by actions only, with remove()")

    def change(self, **values: Any) -> bool:
        """Change fields of the row and step its revision; return whether anything differed. Inside an action only.

        Raises:
            HeadwaterError: ``conflict`` when somebody else changed the row meanwhile, ``invalid_parameter``.
        """
        context = current_action()
        if context is None:
            raise UnauditedWrite(f"{type(self).__name__} is changed by actions only")
        before = {name: getattr(self, name) for name in values}
        changed = [name for name in values if values[name] != before[name]]
        if not changed:
            return False
        before_plain = plain_fields(self, changed)
        for name in changed:
            setattr(self, name, values[name])
        _validate(self)
        rows = type(self)._base_manager.filter(pk=self.pk, revision=self.revision)
        if not rows.update(**{name: values[name] for name in changed}, revision=self.revision + 1):
            raise HeadwaterError(
                "conflict", f"{self} was changed by somebody else meanwhile", hint="load it again and repeat the change"
            )
        self.revision += 1
        context.note_changed(self, before_plain, plain_fields(self, changed))
        return True

    def remove(self) -> None:
        """Delete the row. Inside an action only; rows that others refer to are never deleted."""
        context = current_action()
        if context is None:
            raise UnauditedWrite(f"{type(self).__name__} is removed by actions only")
        context.note_removed(self, plain_fields(self, _audited(self)))
        type(self)._base_manager.filter(pk=self.pk).delete()

    @property
    def public_id(self) -> str:
        """Return the id as everybody outside sees it, such as ``env_…``."""
        return format_id(self.prefix, self.pk)

    @classmethod
    def parse_id(cls, text: str) -> uuid.UUID:
        """Return the primary key behind a public id; raises ``invalid_parameter``."""
        return parse_id(cls.prefix, text)

    @property
    def tenant_id(self) -> uuid.UUID | None:
        """Return the organisation whose audit log speaks of this row; None: the platform's own."""
        return getattr(self, "org_id", None)


class TenantEntity(Entity):
    """A row that belongs to one organisation."""

    org = models.ForeignKey("orgs.Organization", on_delete=models.PROTECT, related_name="+", editable=False)

    # Declared first, so that Django's own look-ups (uniqueness, relations, fixtures) use it.
    unscoped: ClassVar[UnscopedManager[Any]] = UnscopedManager()
    objects: ClassVar[TenantManager[Any]] = TenantManager()

    class Meta:
        """Abstract: every tenant-owned model derives from it."""

        abstract = True


def _audited(entity: Entity) -> Iterable[str]:
    hidden = {"id", "created_at", "revision", "org"}
    return [field.name for field in entity._meta.concrete_fields if field.name not in hidden]


def _validate(entity: Entity) -> None:
    """Hold the row against its own constraints, with errors that name the field."""
    try:
        entity.full_clean()
        _refuse_nul(entity)
    except ValidationError as error:
        problems = error.message_dict
        unique = any(
            item.code in ("unique", "unique_together") for items in error.error_dict.values() for item in items
        )
        text = "; ".join(
            " ".join(messages) if name == NON_FIELD_ERRORS else f"{name}: {' '.join(messages)}"
            for name, messages in problems.items()
        )
        code = "conflict" if unique else "invalid_parameter"
        extra = {"errors": listed_errors(error)}
        raise HeadwaterError(code, f"{entity._meta.verbose_name}: {text}", extra=extra) from error


def _refuse_nul(entity: Entity) -> None:
    """Refuse on every database what PostgreSQL cannot store."""
    texts = {field.name: getattr(entity, field.attname) for field in entity._meta.concrete_fields}
    bad = [name for name, text in texts.items() if isinstance(text, str) and "\x00" in text]
    if bad:
        raise ValidationError(dict.fromkeys(bad, "NUL characters are not allowed"))


def listed_errors(error: ValidationError) -> list[dict[str, str]]:
    """Return what Django found wrong as problem documents list it: the field, and what about it."""
    return [
        {"path": "" if name == NON_FIELD_ERRORS else name, "message": " ".join(messages)}
        for name, messages in error.message_dict.items()
    ]
