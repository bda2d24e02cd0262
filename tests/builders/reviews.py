"""Review queues with tasks, and services as reviews ask them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from tests.builders.registry import make_model, make_version

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.control.catalog.data_plane import QuarantineGroup
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment, Organization
from headwater.control.overrides.actions import request_override
from headwater.control.overrides.models import Override
from headwater.control.registry.models import ModelVersion
from headwater.control.reviews.actions import open_tasks, publish_queue
from headwater.control.reviews.files import parse_queue
from headwater.control.reviews.models import ReviewQueue, ReviewTask
from headwater.control.reviews.opening import FEEDER, Draft
from headwater.control.reviews.plane import KeptRow, KeptRows, LoggedPrediction, LoggedPredictions
from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id

PREDICTIONS = """
title: Uncertain delays
source: prediction
model: delay
condition: score > 0.4 and score < 0.6
priority: 0.5 - abs(score - 0.5)
sla: 4h
reviewers: {decisions: %(decisions)d, four_eyes: %(four_eyes)s, lease: 10m%(escalate)s}
form:
  - name: late
    logicalType: boolean
    required: true
    description: Was it late?
  - name: corrected
    logicalType: number
    required: false
    logicalTypeOptions: {minimum: 0, maximum: 1}
outcome:
  label: late
  override: {output: score, value: corrected, inputs: [carrier], hours: 48}
"""
GROUPS = "title: Refused rows\nsource: quarantine\ndataset: %s\n"
ROWS = "source: quarantine\nunit: row\ndataset: %s\n"
INPUTS = contract_to_spec(
    Contract("delay", "1", (Field("carrier", LogicalType.STRING), Field("hour", LogicalType.INTEGER)))
)


def make_scored_model(environment: Environment, name: str = "delay") -> ModelVersion:
    """Return a version with two inputs and a score."""
    return make_version(make_model(environment, name), inputs=INPUTS)


def make_queue(
    environment: Environment, text: str = "", *, key: str = "uncertain", actor: Actor = SYSTEM, **changes: Any
) -> ReviewQueue:
    """Return a queue; the default reviews predictions of ``delay``, which is made if it is not there."""
    if not text:
        from headwater.control.registry.models import Model

        if not Model.objects.for_org(environment.org).filter(name="delay").exists():
            make_scored_model(environment)
        options = {"decisions": 1, "four_eyes": "false", "escalate": ""} | changes
        text = PREDICTIONS % options
    file = parse_queue(text, source=f"reviews/{key}.yaml")
    return publish_queue(actor=actor, project=environment.project, file=file, source=text)


def make_tasks(queue: ReviewQueue, environment: Environment, count: int = 1, **changes: Any) -> list[ReviewTask]:
    """Return open tasks about predictions."""
    drafts = []
    for number in range(count):
        prediction = new_id("prd")
        members: dict[str, Any] = {
            "dedupe_key": f"prediction:{prediction}",
            "title": f"delay: score 0.5{number}",
            "subject": {"model": "delay", "prediction_id": prediction, "inputs": {"carrier": "UA", "hour": 7}},
            "payload": {"inputs": {"carrier": "UA", "hour": 7}, "outputs": {"score": 0.5}},
        }
        drafts.append(Draft(**members | changes))
    return open_tasks(actor=FEEDER, queue=queue, environment=environment, drafts=drafts)


def make_task(queue: ReviewQueue, environment: Environment, **changes: Any) -> ReviewTask:
    """Return one open task."""
    (task,) = make_tasks(queue, environment, 1, **changes)
    return task


def make_override(environment: Environment, actor: Actor = SYSTEM, model: str = "scored") -> Override:
    """Return an override that was asked for, of a model that is made for it."""
    make_scored_model(environment, model)
    return request_override(
        actor=actor, environment=environment, target=model, output="score", key={"carrier": "UA"}, value=0.5,
        valid_until=datetime.now(UTC) + timedelta(days=1), reason="strike",
    )  # fmt: skip


def make_reviewer(org: Organization, role: str = "operator") -> Actor:
    """Return a member of an organisation as somebody who acts."""
    from tests.builders.control import make_member

    from headwater.control.access.queries import actor_for_user

    return actor_for_user(make_member(org, role).user)


def group(fingerprint: str = "0" * 16, dataset: str = "flights", **changes: Any) -> QuarantineGroup:
    """Return a group of refused rows as services tell of it."""
    now = datetime.now(UTC)
    members: dict[str, Any] = {
        "fingerprint": fingerprint, "dataset": dataset, "contract_version": "1.0.0", "code": "out_of_range",
        "path": "/wind_speed", "count": 3, "open": 3, "first_at": now - timedelta(hours=1), "last_at": now,
        "principal_ids": ("sa_1",),
    }  # fmt: skip
    return QuarantineGroup(**members | changes)


def kept_row(**changes: Any) -> KeptRow:
    """Return a refused row as services tell of it."""
    members: dict[str, Any] = {
        "quarantine_id": new_id("q"), "received_at": "2026-01-01T00:00:00Z", "contract_version": "1.0.0",
        "fingerprint": "0" * 16, "principal_id": "sa_1", "first_code": "out_of_range", "first_path": "/wind_speed",
        "raw": '{"wind_speed": 1048}',
    }  # fmt: skip
    return KeptRow(**members | changes)


@dataclass
class FakePlane:
    """Services in memory: what they hold, and what they were asked to do."""

    groups: list[QuarantineGroup] = field(default_factory=list)
    rows: list[KeptRow] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    error: HeadwaterError | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    done: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def quarantine_groups(self, environment_id: str, dataset: str | None = None) -> Sequence[QuarantineGroup]:
        self._fail()
        assert environment_id
        return [one for one in self.groups if dataset in (None, one.dataset)]

    def kept_rows(self, environment_id: str, dataset: str, *, after: str | None, limit: int) -> KeptRows:
        self._fail()
        self.asked.append({"environment": environment_id, "dataset": dataset, "after": after, "limit": limit})
        found = [
            row for row in sorted(self.rows, key=lambda row: row.quarantine_id) if row.quarantine_id > (after or "")
        ]
        return KeptRows(rows=tuple(found[:limit]), is_last=len(found) <= limit)

    def predictions(self, environment_id: str, model: str, **question: Any) -> LoggedPredictions:
        self._fail()
        self.asked.append({"environment": environment_id, "model": model, **question})
        after, limit = question["after"], question["limit"]
        chosen = [
            LoggedPrediction(
                prediction_id=f"prd_{seq:026}", seq=seq, version=1, predicted_at="2026-01-01T00:00:00Z",
                principal_id="sa_1", priority=0.5 - abs(score - 0.5), inputs={"carrier": "UA"},
                outputs={"score": score},
            )
            for seq, score in enumerate(self.scores)
            if seq > after and 0.4 < score < 0.6 and question["sample_bps"]
        ]  # fmt: skip
        cut = len(chosen) > limit
        shown = chosen[:limit]
        return LoggedPredictions(
            predictions=tuple(shown), position=shown[-1].seq if cut else max(len(self.scores) - 1, after)
        )

    def resolve_rows(
        self, environment_id: str, dataset: str, verdict: str, ids: Sequence[str], *, requested_by: str
    ) -> dict[str, Any]:
        return self._do(verdict, environment=environment_id, dataset=dataset, ids=list(ids), by=requested_by)

    def correct(
        self, environment_id: str, dataset: str, quarantine_id: str, changes: Mapping[str, Any], *, requested_by: str
    ) -> dict[str, Any]:
        return self._do(
            "correct", environment=environment_id, dataset=dataset, ids=[quarantine_id], changes=dict(changes),
            by=requested_by,
        )  # fmt: skip

    def label(self, environment_id: str, prediction_id: str, outcome: Any, *, requested_by: str) -> dict[str, Any]:
        return self._do("label", environment=environment_id, id=prediction_id, outcome=outcome, by=requested_by)

    def _do(self, verb: str, **what: Any) -> dict[str, Any]:
        self._fail()
        self.done.append({"verb": verb, **what})
        return {"received": 1, "accepted": 1}

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error
