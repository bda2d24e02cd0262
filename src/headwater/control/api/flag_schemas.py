"""What the control API takes and gives about flags."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from ninja import Field, Schema
from pydantic import AwareDatetime

from headwater.control.api.schemas import SEEN
from headwater.control.flags.document import ConfigDocument, show_rule
from headwater.control.flags.models import Flag, FlagConfig
from headwater.control.flags.preview import Preview
from headwater.control.flags.stale import StaleFlag
from headwater.control.flags.words import rule_in_words
from headwater.core.flags import KEY_PATTERN
from headwater.core.flags.spec import MAX_KEY_LENGTH, ValueType

Kind = Literal["release", "ops", "permanent"]


class FlagOut(Schema):
    """A flag: what is the same in every environment."""

    id: str
    key: str
    description: str
    type: str
    variants: dict[str, Any]
    off: str
    kind: str
    owner: str
    remove_by: date | None
    exposures: bool
    archived_at: datetime | None
    revision: int

    @classmethod
    def show(cls, row: Flag) -> FlagOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, key=row.key, description=row.description, type=row.type, variants=row.variants,
            off=row.off_variant, kind=row.kind, owner=row.owner, remove_by=row.remove_by, exposures=row.exposures,
            archived_at=row.archived_at, revision=row.revision,
        )  # fmt: skip


class FlagIn(Schema):
    """A flag to be made: off in every environment."""

    key: str = Field(pattern=KEY_PATTERN, max_length=MAX_KEY_LENGTH)
    description: str = Field("", max_length=10_000)
    type: ValueType = "boolean"
    variants: dict[str, Any] = Field({"on": True, "off": False}, min_length=1, max_length=50)
    off: str = "off"
    kind: Kind = "release"
    owner: str = Field(min_length=1, max_length=200)
    remove_by: date | None = Field(None, description="When the code should do without it; permanent flags have none")
    exposures: bool = False

    def content(self) -> dict[str, Any]:
        """Return the fields of ``Flag``, but for the key."""
        return _fields(self.dict(exclude={"key"}))


class FlagPatch(Schema):
    """Changes to a flag; members that are absent stay."""

    description: str = Field("", max_length=10_000)
    variants: dict[str, Any] = Field({}, max_length=50)
    off: str = ""
    kind: Kind = "release"
    owner: str = Field("", max_length=200)
    remove_by: date | None = None
    exposures: bool = False
    reason: str = Field("", max_length=500)
    revision: int | None = Field(None, description=SEEN)

    def content(self) -> dict[str, Any]:
        """Return the fields of ``Flag`` that change."""
        return _fields(self.dict(exclude_unset=True, exclude={"reason", "revision"}))


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    if "off" in given:
        given["off_variant"] = given.pop("off")
    return given


class ConfigOut(Schema):
    """What an environment says about a flag. ``in_words`` are its rules as sentences."""

    flag: str
    environment: str
    enabled: bool
    default: str
    rules: list[dict[str, Any]]
    in_words: list[str]
    prerequisites: list[dict[str, Any]]
    enabled_from: datetime | None
    enabled_until: datetime | None
    changed_at: datetime
    revision: int

    @classmethod
    def show(cls, row: FlagConfig) -> ConfigOut:
        """Return what the API says about ``row``."""
        return cls(
            flag=row.flag.key, environment=row.environment.key, enabled=row.enabled, default=row.default_variant,
            rules=[show_rule(rule) for rule in row.rules], in_words=[rule_in_words(rule) for rule in row.rules],
            prerequisites=row.prerequisites, enabled_from=row.enabled_from, enabled_until=row.enabled_until,
            changed_at=row.changed_at, revision=row.revision,
        )  # fmt: skip


class ConfigIn(ConfigDocument):
    """Changes to what an environment says; members that are absent stay.

    Rules are as in flag files: ``{"when": "country = 'DE'", "variant": "on", "share": "10%"}``.
    """

    reason: str = Field("", max_length=500)
    revision: int | None = Field(None, description=SEEN)
    dry_run: bool = Field(False, description="Say what would change, and change nothing")


class ChangeOut(Schema):
    """What was changed, or would be, one line each; and what there is now."""

    changes: list[str]
    dry_run: bool
    config: ConfigOut


class ToggleIn(Schema):
    """On or off."""

    enabled: bool
    reason: str = Field("", max_length=500)
    revision: int | None = Field(None, description=SEEN)


class EvaluateIn(Schema):
    """Whom to ask about, and for which instant (default: now)."""

    context: dict[str, Any] = Field(default_factory=dict)
    at: AwareDatetime | None = None


class PassageOut(Schema):
    """One thing that was looked at, and what came of it."""

    what: str
    result: str
    why: str


class EvaluateOut(Schema):
    """An answer and the way to it."""

    key: str
    value: Any
    variant: str | None
    reason: str
    error: str | None
    steps: list[PassageOut]

    @classmethod
    def show(cls, found: Preview) -> EvaluateOut:
        """Return what the API says about an answer."""
        outcome = found.outcome
        return cls(
            key=outcome.key, value=outcome.value, variant=outcome.variant, reason=outcome.reason.value,
            error=outcome.error_code,
            steps=[PassageOut(what=item.what, result=item.result, why=item.why) for item in found.passages],
        )  # fmt: skip


class StaleOut(Schema):
    """A flag that has had its day."""

    key: str
    kind: str
    owner: str
    remove_by: date | None
    evaluated_on: date | None
    reasons: list[str]

    @classmethod
    def show(cls, found: StaleFlag) -> StaleOut:
        """Return what the API says about a stale flag."""
        flag = found.flag
        return cls(
            key=flag.key, kind=flag.kind, owner=flag.owner, remove_by=flag.remove_by,
            evaluated_on=found.evaluated_on, reasons=list(found.reasons),
        )  # fmt: skip


class UsageOut(Schema):
    """How often a variant was answered on a day, to requests for the flag by itself."""

    day: date
    variant: str
    count: int
