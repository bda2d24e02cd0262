"""A large organisation in the control database, by bulk SQL: members, datasets, keys, flags, tasks, a long audit log.

Rows go past ``save()`` and so past the actions that would log each of them, but every kind of row is held against its
model's own validation once. The audit events seeded here have no hash chain: ``headwater audit verify`` would say so.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.control_events import add_events
from django.db import connection, models

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.control.access.models import ApiKey, Grant, Group, GroupMember, KeyUse, Role, ServiceAccount
from headwater.control.catalog.models import (
    Activation,
    ContractVersion,
    Dataset,
    Endpoint,
    EndpointRevision,
    QuarantineCase,
)
from headwater.control.features.models import FeatureView, FeatureViewRevision
from headwater.control.flags.models import Flag, FlagConfig, FlagUsage
from headwater.control.identity.models import Invitation, User
from headwater.control.kit.models import Outbox
from headwater.control.kit.tenancy import Entity
from headwater.control.monitoring.models import ModelAlert
from headwater.control.orgs.models import Environment, Membership
from headwater.control.overrides.models import Override
from headwater.control.policies.models import AccessPolicy
from headwater.control.registry.models import Deployment, LineageEdge, Model, ModelAlias, ModelVersion, Rollout
from headwater.control.reviews.models import ReviewDecision, ReviewQueue, ReviewTask
from headwater.control.sso.models import Domain
from headwater.core.ids import new_uuid

BATCH = 1_000
NOW = datetime.now(UTC).replace(microsecond=0)
SQL = """SELECT carrier, max(v1) AS worst FROM {table} WHERE $carrier IS NULL OR carrier = $carrier GROUP BY carrier"""


@dataclass(frozen=True)
class Sizes:
    """How many rows of each kind."""

    members: int
    datasets: int
    keys: int
    flags: int
    policies: int
    few: int
    """Models, endpoints, feature views, groups, invitations, domains, review queues."""
    many: int
    """Quarantine cases, overrides, alerts, decisions, outbox events."""
    tasks: int
    events: int

    @classmethod
    def scaled(cls, scale: float) -> Sizes:
        """Return a large organisation, or a share of one."""
        full = cls(1_000, 5_000, 500, 200, 200, 100, 10_000, 1_000_000, 10_000_000)
        return cls(*(max(round(number * scale), 5) for number in vars(full).values()))

    @classmethod
    def alike(cls, number: int) -> Sizes:
        """Return the same number of everything."""
        return cls(*(number for _ in range(9)))


def bulk(model: type[models.Model], rows: Iterable[Any]) -> list[Any]:
    """Insert rows past the guards of our own managers, the first of them held against its model."""
    made = list(rows)
    if made and isinstance(made[0], Entity):
        related = [field.name for field in model._meta.fields if field.is_relation or field.primary_key]
        made[0].clean_fields(exclude=related)
    for start in range(0, len(made), BATCH):
        models.QuerySet(model=model).bulk_create(made[start : start + BATCH])
    return made


class Seeder:
    """Fills one environment; ``first`` numbers the rows, so that a second call adds to the first."""

    def __init__(self, environment: Environment, first: int = 0) -> None:
        """Fill ``environment``, which is empty or holds rows up to ``first``."""
        self.environment = environment
        self.org, self.project = environment.org, environment.project
        self.first = first
        self.roles = {role.name: role for role in Role.unscoped.filter(org=None)}

    def fill(self, sizes: Sizes) -> None:
        """Insert everything."""
        members = self.people(sizes.members)
        accounts = self.programs(sizes.keys)
        self.groups(sizes.few, members, accounts)
        datasets = self.datasets(sizes.datasets)
        self.cases(sizes.many, datasets)
        self.endpoints(sizes.few, datasets)
        self.views(sizes.few, datasets)
        self.flags(sizes.flags)
        self.policies(sizes.policies, datasets)
        models = self.models(sizes.few, datasets)
        self.overrides(sizes.many, models)
        self.messages(sizes.many)
        queues = self.queues(sizes.few)
        self.tasks(sizes.tasks, queues)
        self.decisions(sizes.many)
        add_events(self.org, sizes.events)
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")

    def numbers(self, count: int) -> range:
        return range(self.first, self.first + count)

    def people(self, count: int) -> list[Membership]:
        users = bulk(
            User, (User(email=f"person-{n}@example.com", name=f"Person {n}", password="!") for n in self.numbers(count))
        )
        members = bulk(Membership, (Membership(org=self.org, user=user, status="active") for user in users))
        roles = itertools.cycle(self.roles[name] for name in ("developer", "analyst"))
        bulk(Grant, (self.given(next(roles), membership=member) for member in members))
        scoped = zip(itertools.cycle(members), self.numbers(count), strict=False)
        bulk(Grant, (
            self.given(
                self.roles["operator"], membership=member, environment=self.environment, resource=f"dataset:data_{n}"
            )
            for member, n in scoped
        ))  # fmt: skip
        bulk(Invitation, (
            Invitation(
                org=self.org, email=f"new-{n}@example.com", role=self.roles["analyst"], invited_by="somebody",
                token_sha256=digest(f"invitation {n}"), expires_at=NOW + timedelta(days=7),
            )
            for n in self.numbers(min(count, 200))
        ))  # fmt: skip
        bulk(Domain, (Domain(org=self.org, name=f"d{n}.example.com") for n in self.numbers(min(count, 50))))
        return members

    def given(self, role: Role, **rest: Any) -> Grant:
        return Grant(org=self.org, role=role, granted_by="the seed", **rest)

    def programs(self, count: int) -> list[ServiceAccount]:
        accounts = bulk(ServiceAccount, (
            ServiceAccount(org=self.org, project=self.project, name=f"program-{n}") for n in self.numbers(count)
        ))  # fmt: skip
        bulk(Grant, (self.given(self.roles["producer"], service_account=row, project=self.project) for row in accounts))
        keys = bulk(ApiKey, (
            ApiKey(
                org=self.org, name=f"key {n}", key_prefix=f"{n:08x}", secret_sha256=digest(f"key {n}"),
                environment=self.environment, service_account=row, expires_at=NOW + timedelta(days=90),
            )
            for n, row in zip(self.numbers(count), accounts, strict=True)
        ))  # fmt: skip
        bulk(KeyUse, (KeyUse(key=key, last_used_at=NOW) for key in keys[::2]))
        return accounts

    def groups(self, count: int, members: list[Membership], accounts: list[ServiceAccount]) -> None:
        groups = bulk(Group, (Group(org=self.org, name=f"group-{n}") for n in self.numbers(count)))
        bulk(GroupMember, (
            GroupMember(org=self.org, group=group, membership=members[(n * 7 + step) % len(members)])
            for n, group in enumerate(groups)
            for step in range(min(20, len(members)))
        ))  # fmt: skip
        bulk(GroupMember, (GroupMember(org=self.org, group=group, service_account=accounts[0]) for group in groups))
        bulk(Grant, (self.given(self.roles["analyst"], group=group) for group in groups))

    def datasets(self, count: int) -> list[Dataset]:
        datasets = bulk(Dataset, (
            Dataset(org=self.org, project=self.project, name=f"data_{n}", description=f"What machine {n} measures")
            for n in self.numbers(count)
        ))  # fmt: skip
        versions = bulk(ContractVersion, map(self.contract, datasets))
        bulk(Activation, (
            Activation(org=self.org, environment=self.environment, dataset=row, contract=version)
            for row, version in zip(datasets, versions, strict=True)
        ))  # fmt: skip
        return datasets

    def contract(self, dataset: Dataset) -> ContractVersion:
        fields = (
            Field(name="carrier", type=LogicalType.STRING, required=True, description="Two letters"),
            Field(name="at", type=LogicalType.TIMESTAMP, required=True),
            *(Field(name=f"v{n}", type=LogicalType.NUMBER, description=f"Reading {n}") for n in range(8)),
        )
        spec = contract_to_spec(Contract(name=dataset.name, version="1.0.0", fields=fields))
        return ContractVersion(
            org=self.org, dataset=dataset, number=1, version="1.0.0", spec=spec, spec_sha256=digest(dataset.name),
            source="the seed\n" * 60, state="active",
        )  # fmt: skip

    def cases(self, count: int, datasets: list[Dataset]) -> None:
        bulk(QuarantineCase, (
            QuarantineCase(
                org=self.org, environment=self.environment, dataset=datasets[n % len(datasets)], count=9, open_count=9,
                fingerprint=digest(f"case {n}"), code="out_of_range", path="/v1", first_at=NOW, last_at=NOW,
            )
            for n in self.numbers(count)
        ))  # fmt: skip

    def endpoints(self, count: int, datasets: list[Dataset]) -> None:
        rows = bulk(Endpoint, (
            Endpoint(org=self.org, environment=self.environment, name=f"endpoint_{n}") for n in self.numbers(count)
        ))  # fmt: skip
        bulk(EndpointRevision, (
            EndpointRevision(
                org=self.org, endpoint=row, number=number, spec_sha256=digest(row.name), source="the seed\n" * 20,
                spec={
                    "sql": SQL.format(table=table.name), "tables": [table.name],
                    "parameters": [{"name": "carrier", "type": "string"}],
                },
            )
            for row, table in zip(rows, itertools.cycle(datasets), strict=False)
            for number in (1, 2)
        ))  # fmt: skip

    def views(self, count: int, datasets: list[Dataset]) -> None:
        rows = bulk(FeatureView, (
            FeatureView(
                org=self.org, environment=self.environment, dataset=datasets[n % len(datasets)], name=f"view_{n}"
            )
            for n in self.numbers(count)
        ))  # fmt: skip
        bulk(FeatureViewRevision, (
            FeatureViewRevision(
                org=self.org, view=row, number=1, spec_sha256=digest(row.name), source="the seed",
                spec={
                    "dataset": row.dataset.name, "entities": ["carrier"], "event_time": "at",
                    "features": [{"name": "v1", "type": "number", "kind": "column", "column": "v1"}],
                },
            )
            for row in rows
        ))  # fmt: skip

    def flags(self, count: int) -> None:
        rows = bulk(Flag, (
            Flag(
                org=self.org, project=self.project, key=f"flag-{n}", type="boolean", off_variant="off", owner="team",
                variants={"on": True, "off": False}, remove_by=NOW.date() + timedelta(days=n % 60 - 20),
            )
            for n in self.numbers(count)
        ))  # fmt: skip
        rule = {"when": "country in ('DE', 'FR') and age >= 18", "variant": "on"}
        bulk(FlagConfig, (
            FlagConfig(
                org=self.org, flag=row, environment=self.environment, enabled=True, default_variant="off",
                rules=[rule, {"variant": "on", "share_bps": 2_500}],
            )
            for row in rows
        ))  # fmt: skip
        bulk(FlagUsage, (
            FlagUsage(
                org=self.org, environment=self.environment, key=row.key, variant=variant, count=1_000,
                day=NOW.date() - timedelta(days=day),
            )
            for row in rows for day in range(30) for variant in ("on", "off")
        ))  # fmt: skip

    def policies(self, count: int, datasets: list[Dataset]) -> None:
        bulk(AccessPolicy, (
            AccessPolicy(
                org=self.org, environment=self.environment, name=f"policy_{n}", priority=100 + n,
                resource=f"dataset:{datasets[n % len(datasets)].name}", principals=["role:analyst"],
                row_filter="carrier = 'UA'", columns={"v1": "null"}, purpose="Analysts see their own carrier.",
            )
            for n in self.numbers(count)
        ))  # fmt: skip

    def models(self, count: int, datasets: list[Dataset]) -> list[Model]:
        rows = bulk(Model, (Model(org=self.org, project=self.project, name=f"model-{n}") for n in self.numbers(count)))
        inputs = contract_to_spec(
            Contract(name="m", version="1.0.0", fields=(Field(name="v1", type=LogicalType.NUMBER, required=True),))
        )
        versions = bulk(ModelVersion, (
            ModelVersion(
                org=self.org, model=row, number=number, framework="remote", inputs=inputs, metrics={"mae": 12.5},
                outputs=[{"name": "score", "type": "number"}], options={"url": "http://127.0.0.1:9/"},
                spec_sha256=digest(f"{row.name} {number}"), state="approved", card="The seed's. " * 200,
            )
            for row in rows for number in (1, 2, 3)
        ))  # fmt: skip
        newest = versions[2::3]
        bulk(ModelAlias, (ModelAlias(org=self.org, model=row.model, name="champion", version=row) for row in newest))
        bulk(Deployment, (
            Deployment(org=self.org, environment=self.environment, model=row.model, version=row) for row in newest
        ))  # fmt: skip
        by = {"by_id": "usr_1", "by_label": "the seed"}
        bulk(Rollout, (
            Rollout(
                org=self.org, environment=self.environment, model=row.model, number=1, cause="promoted", champion=row,
                routes=[{"version": row.number, "role": "primary", "weight_bps": 10_000}], **by,
            )
            for row in newest
        ))  # fmt: skip
        bulk(LineageEdge, (
            LineageEdge(org=self.org, version=row, kind="trained_on", name=datasets[n % len(datasets)].name)
            for n, row in enumerate(versions)
        ))  # fmt: skip
        bulk(ModelAlert, (
            ModelAlert(
                org=self.org, environment=self.environment, version=row, metric="psi", side="input", field="v1",
                value=0.4, threshold=0.2, latest=0.4, worst=0.5, since=NOW, window_minutes=60,
            )
            for row in newest
        ))  # fmt: skip
        return rows

    def overrides(self, count: int, models: list[Model]) -> None:
        bulk(Override, (
            Override(
                org=self.org, environment=self.environment, target=models[n % len(models)].name, output="score",
                key={"v1": n}, key_text=f'inputs:{{"v1":{n}}}', value=1.0, reason="known better", state="approved",
                valid_from=NOW - timedelta(days=n % 300 + 1), valid_until=NOW + timedelta(days=n % 30 - 20, hours=480),
                requested_by_id="usr_1", requested_by_label="one", decided_by_id="usr_2", decided_by_label="two",
            )
            for n in self.numbers(count)
        ))  # fmt: skip

    def messages(self, count: int) -> None:
        bulk(Outbox, (
            Outbox(id=new_uuid(), topic="dataset.created", key=str(n), payload={"n": n}, published_at=NOW)
            for n in self.numbers(count)
        ))  # fmt: skip

    def queues(self, count: int) -> list[ReviewQueue]:
        return bulk(ReviewQueue, (
            ReviewQueue(org=self.org, project=self.project, key=f"queue-{n}", source="quarantine", title=f"Queue {n}")
            for n in self.numbers(min(count, 20))
        ))  # fmt: skip

    def tasks(self, count: int, queues: list[ReviewQueue]) -> None:
        """Insert tasks: of a hundred two wait, as bounds on open tasks leave it, the others are decided."""
        chunks: Iterator[range] = (
            range(start, min(start + 50_000, self.first + count))
            for start in range(self.first, self.first + count, 50_000)
        )
        for chunk in chunks:
            bulk(ReviewTask, (self.task(n, queues[n % len(queues)]) for n in chunk))

    def task(self, n: int, queue: ReviewQueue) -> ReviewTask:
        waits = n // 20 % 50 == 0
        at = NOW - timedelta(minutes=n)
        return ReviewTask(
            org=self.org, queue=queue, environment=self.environment, dedupe_key=f"row {n}", title=f"v1 is {n}",
            subject={"dataset": "data_1", "row": n}, payload={"row": {"carrier": "UA", "v1": n}, "errors": []},
            payload_sha256=digest(str(n)), priority=n % 10, state="open" if waits else "decided", created_at=at,
            due_at=at + timedelta(days=1), decided_at=None if waits else at, verdict="" if waits else "discard",
            delivery="none" if waits else "done",
        )  # fmt: skip

    def decisions(self, count: int) -> None:
        tasks = ReviewTask.unscoped.filter(environment=self.environment, state="decided").order_by("-id")[:count]
        bulk(ReviewDecision, (
            ReviewDecision(
                org=self.org, task_id=pk, reviewer_id=f"usr_{self.first}", reviewer_label="one", verdict="discard"
            )
            for pk in tasks.values_list("pk", flat=True)
        ))  # fmt: skip


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
