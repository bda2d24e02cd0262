"""Flags as people write them: files ``flags/<key>.yaml``, and the bodies of the control API.

.. code-block:: yaml

    description: Which delay counts as late
    type: integer
    variants: {strict: 15, relaxed: 30}
    off: relaxed                   # answered while the flag is off
    kind: release                  # release, ops or permanent
    owner: data-team
    remove_by: 2027-03-01          # but for permanent flags
    exposures: true                # write down who saw what
    enabled: true
    default: relaxed               # where no rule reaches
    rules:
      - {when: "country in ('DE', 'FR')", variant: strict}
      - variant: strict
        share: 10%                 # of those that the rule reaches, by targeting key
        steps: [{at: 2026-12-01T08:00:00Z, share: 50%}]
      - split: {strict: 50%, relaxed: 50%}
    prerequisites: [{flag: new-model, variant: "on"}]
    from: 2026-12-01T08:00:00Z
    until: 2027-01-01T00:00:00Z
    environments:
      production: {enabled: false}

What a file does not say stays as people have set it: a flag that was switched off in an emergency stays off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from headwater.contracts.yamltree import YamlFault, load
from headwater.core.errors import HeadwaterError
from headwater.core.flags import KEY_PATTERN, WHOLE_BPS
from headwater.core.flags.spec import MAX_KEY_LENGTH, ValueType

_PERCENT: Final = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,2})?)\s*%?\s*")
_ON_AND_OFF: Final = {"on": True, "off": False}


def parse_percent(value: Any) -> Any:
    """Return basis points of what is written as ``25%``, ``"12.5 %"`` or ``25``."""
    if isinstance(value, bool):
        raise ValueError("write a share such as 25%")  # noqa: TRY004 - pydantic wants a ValueError
    match = _PERCENT.fullmatch(str(value))
    if match is None or float(match[1]) > 100:  # noqa: PLR2004 - percent
        raise ValueError(f"{value!r} is no share; write 0% to 100%, with at most two decimals")
    return round(float(match[1]) * 100)


def show_percent(bps: int) -> str:
    """Return basis points as people write them."""
    return f"{bps / 100:g}%"


Percent = Annotated[int, BeforeValidator(parse_percent)]
Kind = Literal["release", "ops", "permanent"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepDocument(_Part):
    """From an instant on, another share."""

    at: AwareDatetime
    share: Percent


class RuleDocument(_Part):
    """Who gets what."""

    when: str = Field("", max_length=4_000)
    variant: str | None = None
    split: dict[str, Percent] | None = None
    share: Percent = WHOLE_BPS
    steps: tuple[StepDocument, ...] = ()
    description: str = Field("", max_length=500)

    def to_plain(self) -> dict[str, Any]:
        """Return the rule as ``core.flags`` has it."""
        split = [{"variant": name, "weight_bps": weight} for name, weight in (self.split or {}).items()]
        steps = [{"at": step.at.isoformat(), "share_bps": step.share} for step in self.steps]
        return {
            "when": self.when.strip(), "variant": self.variant, "split": split, "share_bps": self.share,
            "steps": steps, "description": self.description.strip(),
        }  # fmt: skip


class PrerequisiteDocument(_Part):
    """Another flag that must answer a variant, or one of several."""

    flag: str
    variant: str | tuple[str, ...]

    def to_plain(self) -> dict[str, Any]:
        """Return the prerequisite as ``core.flags`` has it."""
        return {"flag": self.flag, "variants": [self.variant] if isinstance(self.variant, str) else list(self.variant)}


class ConfigDocument(_Part):
    """What an environment says. A member that is absent says nothing about what is there."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    enabled: bool = False
    default: str = ""
    rules: tuple[RuleDocument, ...] = Field((), max_length=100)
    prerequisites: tuple[PrerequisiteDocument, ...] = Field((), max_length=20)
    enabled_from: AwareDatetime | None = Field(None, alias="from")
    enabled_until: AwareDatetime | None = Field(None, alias="until")

    def changes(self) -> dict[str, Any]:
        """Return the fields of ``FlagConfig`` that are said, with their values."""
        said: dict[str, Any] = {
            "enabled": self.enabled,
            "default_variant": self.default,
            "rules": [rule.to_plain() for rule in self.rules],
            "prerequisites": [item.to_plain() for item in self.prerequisites],
            "enabled_from": self.enabled_from,
            "enabled_until": self.enabled_until,
        }
        names = {"default": "default_variant"}
        given = {names.get(name, name) for name in self.model_fields_set}
        return {name: value for name, value in said.items() if name in given}


class FlagDocument(ConfigDocument):
    """A whole flag."""

    key: str | None = Field(None, pattern=KEY_PATTERN, max_length=MAX_KEY_LENGTH)
    description: str = Field("", max_length=10_000)
    type: ValueType = "boolean"
    variants: dict[str, Any] = Field({}, max_length=50)
    off: str | None = None
    kind: Kind = "release"
    owner: str = Field(min_length=1, max_length=200)
    remove_by: date | None = None
    exposures: bool = False
    environments: dict[str, ConfigDocument] = {}

    def content(self) -> dict[str, Any]:
        """Return the fields of ``Flag``, but for the key."""
        variants = self.variants or (_ON_AND_OFF if self.type == "boolean" else {})
        off = self.off or ("off" if "off" in variants else next(iter(variants), ""))
        return {
            "description": self.description.strip(), "type": self.type, "variants": dict(variants),
            "off_variant": off, "kind": self.kind, "owner": self.owner.strip(), "remove_by": self.remove_by,
            "exposures": self.exposures,
        }  # fmt: skip

    def config(self, environment: str) -> dict[str, Any]:
        """Return the fields of ``FlagConfig`` that are said for an environment: its own ones before the general."""
        own = self.environments.get(environment)
        return self.changes() | (own.changes() if own is not None else {})


@dataclass(frozen=True, slots=True)
class FlagFile:
    """A flag file that could be read; ``line_of`` finds the line of a path in it."""

    key: str
    document: FlagDocument
    source: str


def parse_flag(text: str, *, source: str) -> FlagFile:
    """Read a flag file.

    Raises:
        HeadwaterError: ``project_invalid``; ``errors`` lists every fault with its path, line and cure.
    """
    try:
        tree = load(text)
    except YamlFault as fault:
        raise _invalid(source, [{"path": "", "message": str(fault), "line": fault.line}]) from fault
    if not isinstance(tree.data, dict):
        raise _invalid(source, [{"path": "", "message": "the file must be a mapping; write lines such as 'type: …'"}])
    try:
        document = FlagDocument.model_validate(tree.data)
    except ValidationError as error:
        found = listed(error)
        raise _invalid(source, [{**item, "line": tree.line_of(item["path"])} for item in found]) from error
    key = document.key or PurePosixPath(source).stem
    if not re.fullmatch(KEY_PATTERN, key) or len(key) > MAX_KEY_LENGTH:
        cure = "use lower-case letters, digits and single - _ . between them, a letter first"
        raise _invalid(source, [{"path": "key", "message": f"{key[:100]!r} is no key; {cure}"}])
    return FlagFile(key, document, source)


def listed(error: ValidationError) -> list[dict[str, Any]]:
    """Return what pydantic found wrong, with paths such as ``rules[0].share``."""
    found = []
    for item in error.errors():
        path = ""
        for part in item["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        found.append({"path": path, "message": item["msg"].removeprefix("Value error, ")})
    return found


def show_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule of ``core.flags`` as people write it."""
    shown: dict[str, Any] = {"when": rule["when"]} if rule.get("when") else {}
    if rule.get("variant") is not None:
        shown["variant"] = rule["variant"]
    if rule.get("split"):
        shown["split"] = {item["variant"]: show_percent(item["weight_bps"]) for item in rule["split"]}
    if rule.get("share_bps", WHOLE_BPS) != WHOLE_BPS or rule.get("steps"):
        shown["share"] = show_percent(rule.get("share_bps", WHOLE_BPS))
    if rule.get("steps"):
        shown["steps"] = [{"at": step["at"], "share": show_percent(step["share_bps"])} for step in rule["steps"]]
    if rule.get("description"):
        shown["description"] = rule["description"]
    return shown


def _invalid(source: str, found: list[dict[str, Any]]) -> HeadwaterError:
    first = found[0]
    place = f", {first['path']}" if first["path"] else ""
    errors = [{"source": source, **item} for item in found]
    return HeadwaterError("project_invalid", f"{source}{place}: {first['message']}", extra={"errors": errors})
