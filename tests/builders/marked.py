"""An organisation in which every text that people or producers can write tries to be markup."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import tests.builders.control  # noqa: F401 - sets Django up
from django.apps import apps
from django.db import DatabaseError, connection, models, transaction
from django.utils import timezone
from tests.builders.console import stock
from tests.builders.policies import policy
from tests.builders.reviews import make_queue, make_reviewer, make_task
from tests.fakes.data_plane import FakeServices, quarantine_group

from headwater.control.identity.models import User
from headwater.control.kit.actions import Actor
from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.actions import rename_organization
from headwater.control.orgs.models import Environment, Organization
from headwater.control.overrides.actions import request_override
from headwater.control.registry.actions import tag_model
from headwater.control.registry.models import Model
from headwater.control.snapshots.models import SnapshotAck

#: Ends an attribute and a tag, runs in HTML, Django, Jinja and Alpine; then letters that read the other way, and emoji.
MARK: Final = "\"'><img src=x onerror=hw()>{{7*7}}{%x%}\u202egnp\u2069🐍"
#: Looked up, parsed or part of an address: what is written there has passed a grammar of its own.
_GRAMMAR: Final = frozenset(
    {
        "slug",
        "key",
        "key_prefix",
        "key_text",
        "email",
        "password",
        "hash",
        "prev_hash",
        "signature",
        "challenge",
        "salt",
        "sealed_secret",
        "row_filter",
        "condition",
        "priority",
        "resource",
        "target",
        "subject",
        "off_variant",
        "default_variant",
        "framework",
        "version",
        "contract_version",
        "metric",
        "side",
        "dedupe_key",
        "position",
        "escalate_to",
        "escalated_because",
        "verdict",
        "origin",
        "payload",
        "fingerprint",
        "code",
        "issuer",
    }
)
#: Their names are part of addresses.
_NAMED: Final = frozenset(
    {"Dataset", "Endpoint", "FeatureView", "Model", "AccessPolicy", "Domain", "ModelAlias", "Role", "Dashboard"}
)
_WITHOUT_TENANT: Final = (Organization, User, SnapshotAck)


def marked(environment: Environment, owner: Actor) -> dict[str, tuple[Any, ...]]:
    """Fill an environment, then write ``MARK`` into every text column; return what ``stock`` does."""
    arguments = stock(environment, owner)
    rename_organization(actor=owner, org=environment.org, name=MARK)
    tag_model(actor=owner, model=Model.objects.for_org(environment.org).get(name="delay"), tags={"team": MARK})
    policy(environment, "everybody", purpose=MARK, priority=30)
    seen = {"model": "delay", "prediction_id": "prd_1", "inputs": {"carrier": MARK, "hour": 7}}
    make_task(
        make_queue(environment),
        environment,
        title=MARK,
        subject=seen,
        payload={"inputs": seen["inputs"], "outputs": {}},
    )
    request_override(
        actor=make_reviewer(environment.org), environment=environment, target="delay", output="score",
        key={"distance": 1.0}, value=0.2, valid_until=timezone.now() + timedelta(days=2), reason=MARK,
    )  # fmt: skip
    write_everywhere()
    return arguments


def write_everywhere() -> list[str]:
    """Write ``MARK`` into every column of text that has no grammar of its own; return which columns took it."""
    return [
        f"{model.__name__}.{field.name}"
        for model in apps.get_models()
        if issubclass(model, (TenantEntity, *_WITHOUT_TENANT))
        for field in model._meta.local_fields
        if _is_free(model, field) and _write(model, field)
    ]


def hostile_answers(services: FakeServices) -> None:
    """Let the services tell of names, values and errors that are markup."""
    services.fill()
    services.groups = [
        quarantine_group(path=f"/{MARK}", samples=[
            {"quarantine_id": "q_1", "received_at": timezone.now().isoformat(), "raw": f'{{"carrier": "{MARK}"}}',
             "errors": [{"code": "type_mismatch", "path": f"/{MARK}", "message": MARK, "actual": MARK}]},
        ])
    ]  # fmt: skip
    services.problems = [MARK]
    columns = [{"name": name, "type": "string"} for name in ("carrier", MARK)]
    services.view = {
        "meta": {"columns": columns, "row_count": 1, "policy": {"flights": MARK}},
        "data": [{"carrier": MARK, MARK: MARK}],
    }


def _is_free(model: type[models.Model], field: models.Field[Any, Any]) -> bool:
    if not isinstance(field, (models.CharField, models.TextField)) or field.choices or field.unique:
        return False
    if field.name in _GRAMMAR or field.name.endswith(("_id", "sha256", "kind")):
        return False
    return not (field.name == "name" and model.__name__ in _NAMED)


def _write(model: type[models.Model], field: models.Field[Any, Any]) -> bool:
    """Write past every action; the rows that their table's triggers have sealed stay as they are."""
    text = MARK[: field.max_length] if field.max_length else MARK * 3
    table, column = (connection.ops.quote_name(name) for name in (model._meta.db_table, field.attname))
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {column} = %s", [text])
            return bool(cursor.rowcount)
    except DatabaseError:
        return False
