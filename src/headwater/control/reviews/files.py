"""``reviews/*.yaml``: what a project says about its review queues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headwater.contracts.durations import parse_duration
from headwater.contracts.model import Contract
from headwater.contracts.yamltree import Document, YamlFault, load
from headwater.control.reviews.forms import read_form
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import SLUG

_TARGET: Final = "^(role|group):[a-z][a-z0-9_-]{0,62}$"


class OverrideOutcome(BaseModel):
    """What the verdict ``override`` asks for: which output, from which answer, for which inputs, for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: str = Field(max_length=200)
    value: str = Field(max_length=200)
    inputs: tuple[str, ...] = Field(min_length=1, max_length=32)
    hours: float = Field(24, gt=0, le=24 * 366)


class Outcome(BaseModel):
    """What verdicts make of answers. ``label`` names the answer that tells what became of a prediction."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str | None = Field(None, max_length=200)
    override: OverrideOutcome | None = None


class Reviewers(BaseModel):
    """Who decides, and how many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decisions: int = Field(1, ge=1, le=5)
    four_eyes: bool = False
    lease: str = "10m"
    escalate_to: str = Field("", pattern=f"({_TARGET})|^$")


class QueueSpec(BaseModel):
    """The members of a queue's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str | None = Field(None, pattern=SLUG)
    title: str = Field("", max_length=200)
    instructions: str = Field("", max_length=4_000)
    source: Literal["quarantine", "prediction", "sample"]
    dataset: str = Field("", max_length=63)
    model: str = Field("", max_length=63)
    unit: Literal["group", "row"] = "group"
    environments: tuple[str, ...] = ()
    condition: str = Field("", max_length=4_000)
    priority: str = Field("", max_length=4_000)
    sample_percent: float = Field(100, gt=0, le=100)
    per_day: int = Field(100, ge=1, le=100_000)
    max_open: int = Field(1_000, ge=1, le=1_000_000)
    sla: str = "24h"
    reviewers: Reviewers = Reviewers()
    form: tuple[dict[str, Any], ...] = ()
    outcome: Outcome = Outcome()

    @property
    def subject(self) -> str:
        """Return the dataset or model that the queue is about."""
        return self.dataset or self.model


@dataclass(frozen=True, slots=True)
class QueueFile:
    """A queue's file that could be read; durations are in seconds."""

    key: str
    spec: QueueSpec
    form: Contract | None
    lease_seconds: int
    sla_seconds: int


def parse_queue(text: str, *, source: str) -> QueueFile:
    """Read a queue's file.

    Raises:
        HeadwaterError: ``project_invalid``; ``errors`` lists every fault with path, line, message and cure.
    """
    try:
        document = load(text)
        if not isinstance(document.data, dict):
            raise _invalid(source, [{"path": "", "line": 1, "message": "the file must be a mapping"}])
        spec = QueueSpec.model_validate(document.data)
    except YamlFault as fault:
        raise _invalid(source, [{"path": "", "line": fault.line, "message": str(fault)}]) from fault
    except ValidationError as error:
        raise _invalid(source, [_fault(item, document) for item in error.errors()]) from error
    faults = _inconsistencies(spec)
    seconds = {}
    for path, written, least, most in (("reviewers.lease", spec.reviewers.lease, 30, 86_400),
                                       ("sla", spec.sla, 60, 31_536_000)):  # fmt: skip
        try:
            seconds[path] = round(parse_duration(written) / timedelta(seconds=1))
        except ValueError as error:
            faults[path] = str(error)
            continue
        if not least <= seconds[path] <= most:
            faults[path] = f"{written} is out of range: from {least}s to {most // 3_600}h"
    if faults:
        listed = [{"path": path, "line": document.line_of(path), "message": text} for path, text in faults.items()]
        raise _invalid(source, listed)
    key = spec.key or PurePosixPath(source).stem
    form = read_form(list(spec.form), name=key.replace("-", "_"), source=source) if spec.form else None
    _check_outcome(spec, form, source, document)
    return QueueFile(key, spec, form, seconds["reviewers.lease"], seconds["sla"])


def _inconsistencies(spec: QueueSpec) -> dict[str, str]:
    """Return what members say that does not go together, by path."""
    faults: dict[str, str] = {}
    if spec.source == "quarantine":
        if spec.model:
            faults["model"] = "a quarantine queue is about a dataset; write 'dataset: …', or leave both out"
        if spec.outcome.label or spec.outcome.override:
            faults["outcome"] = "rows are replayed, corrected or discarded; there is nothing to label or override"
        if spec.unit == "row" and not spec.dataset:
            faults["dataset"] = "a queue of single rows needs one"
    else:
        if not spec.model:
            faults["model"] = f"a {spec.source} queue needs the model whose predictions are reviewed"
        if spec.dataset:
            faults["dataset"] = f"a {spec.source} queue is about a model"
        if spec.unit == "row":
            faults["unit"] = "predictions are reviewed one by one anyway; leave it out"
    if spec.source == "prediction" and not spec.condition:
        faults["condition"] = "say which predictions, such as 'score > 0.4 and score < 0.6', or use 'source: sample'"
    return faults


def _check_outcome(spec: QueueSpec, form: Contract | None, source: str, document: Document) -> None:
    asked = {field.name for field in form.fields} if form else set()
    override = spec.outcome.override
    wanted = {"outcome.label": spec.outcome.label, "outcome.override.value": override.value if override else None}
    faults = [
        {"path": path, "line": document.line_of(path), "message": f"the form does not ask for {name!r}"}
        for path, name in wanted.items()
        if name is not None and name not in asked
    ]
    if faults:
        raise _invalid(source, faults)


def _fault(item: Mapping[str, Any], document: Document) -> dict[str, Any]:
    path = ""
    for part in item["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    message = "it is not known here" if item["type"] == "extra_forbidden" else str(item["msg"])
    return {"path": path, "line": document.line_of(path), "message": message}


def _invalid(source: str, faults: list[dict[str, Any]]) -> HeadwaterError:
    first = faults[0]
    return HeadwaterError(
        "project_invalid", f"{source}: line {first['line']}: {first['path']}: {first['message']}",
        extra={"errors": faults},
    )  # fmt: skip
