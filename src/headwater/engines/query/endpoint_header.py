"""The YAML header of an endpoint file, as written, and everything found wrong with the file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from headwater.core.endpoints import CacheSpec, LimitsSpec, LiveSpec
from headwater.core.errors import HeadwaterError

NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"
MAX_TIMEOUT_SECONDS: Final = 300.0
MAX_ROWS: Final = 10_000_000
MAX_VERSION: Final = 999_999
_STRICT: Final = ConfigDict(extra="forbid", strict=True)


class Cache(BaseModel):
    """How results are kept."""

    model_config = _STRICT

    mode: Literal["version", "off"] = "version"
    stale_seconds: float = Field(0.0, ge=0, le=86_400, strict=False)
    accelerate: bool = False

    @field_validator("mode", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        return "off" if value is False else value  # as YAML reads it

    def to_spec(self) -> CacheSpec:
        """Return it as snapshots hold it."""
        return CacheSpec(**self.model_dump())


class Limits(BaseModel):
    """What one key may ask."""

    model_config = _STRICT

    requests_per_second: float | None = Field(None, gt=0, le=100_000, strict=False)
    concurrency: int | None = Field(None, ge=1, le=10_000)
    max_bytes: int | None = Field(None, ge=1_024)

    def to_spec(self) -> LimitsSpec:
        """Return them as snapshots hold them."""
        return LimitsSpec(**self.model_dump())


class Live(BaseModel):
    """How often a live result is worked out again at most."""

    model_config = _STRICT

    min_interval_seconds: float = Field(1.0, ge=0.1, le=3_600, strict=False)

    def to_spec(self) -> LiveSpec:
        """Return it as snapshots hold it."""
        return LiveSpec(**self.model_dump())


class Header(BaseModel):
    """The header as written."""

    model_config = _STRICT

    name: str | None = Field(None, pattern=NAME)
    version: int | None = Field(None, ge=1, le=MAX_VERSION)
    description: str = Field("", max_length=10_000)
    parameters: dict[str, dict[str, Any]] = {}
    columns: dict[str, str] = {}
    key: list[str] = []
    roles: list[str] = []
    timeout_seconds: float = Field(10.0, gt=0, le=MAX_TIMEOUT_SECONDS, strict=False)
    max_rows: int = Field(100_000, ge=1, le=MAX_ROWS)
    cache: Cache = Cache()
    limits: Limits = Limits()
    live: Live = Live()
    deprecated: datetime | None = None
    sunset: datetime | None = None
    examples: list[dict[str, Any]] = []

    @field_validator("deprecated", "sunset", mode="before")
    @classmethod
    def _read_instant(cls, value: Any) -> Any:
        """Take a day for its first instant, and a time without offset for UTC."""
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        return value.replace(tzinfo=value.tzinfo or UTC) if isinstance(value, datetime) else value

    @model_validator(mode="after")
    def _deprecation_comes_first(self) -> Header:
        if self.sunset is not None and self.deprecated is None:
            raise ValueError("`sunset` needs `deprecated`: say first from when on callers should move")
        if self.sunset is not None and self.deprecated is not None and self.sunset < self.deprecated:
            raise ValueError("`sunset` is before `deprecated`; it must be later")
        return self


class Faults:
    """Everything found wrong with one file."""

    def __init__(self, source: str) -> None:
        """Begin with nothing; ``source`` is the file's path."""
        self._source = source
        self._found: list[dict[str, Any]] = []

    def add(self, path: str, message: str, *, hint: str | None = None, line: int | None = None) -> None:
        """Note one."""
        fault: dict[str, Any] = {"source": self._source, "path": path, "message": message}
        optional = {"hint": hint, "line": line}
        self._found.append(fault | {name: value for name, value in optional.items() if value is not None})

    def one(self, path: str, message: str, *, hint: str | None = None, line: int | None = None) -> HeadwaterError:
        """Note one and return the error for all there are."""
        self.add(path, message, hint=hint, line=line)
        return self._error()

    def add_all(self, error: ValidationError, prefix: tuple[str, ...], known: Callable[[], str]) -> None:
        """Note what a model found; ``known`` names the members there are."""
        for item in error.errors():
            path = ".".join((*prefix, *map(str, item["loc"])))
            if item["type"] == "extra_forbidden":
                self.add(path, "there is no such member", hint=known())
            elif item["type"] == "value_error" and not item["loc"]:
                self.add(path, str(item["ctx"]["error"]))
            else:
                self.add(path, f"{item['msg'][0].lower()}{item['msg'][1:]} (got {str(item['input'])[:80]!r})")

    def raise_if_any(self) -> None:
        """Raise ``project_invalid`` with all there are."""
        if self._found:
            raise self._error()

    def _error(self) -> HeadwaterError:
        first = self._found[0]
        at = "".join(
            (f", line {first['line']}" if "line" in first else "", f", {first['path']}" if first["path"] else "")
        )
        return HeadwaterError(
            "project_invalid",
            f"{self._source}{at}: {first['message']}",
            hint=first.get("hint"),
            extra={"errors": self._found},
        )


def read_header(text: str, first_line: int, faults: Faults) -> Header:
    """Return the header; raises ``project_invalid`` with everything wrong with it."""
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = first_line + error.problem_mark.line + 1 if error.problem_mark else None
        raise faults.one("", f"the header is not YAML: {error.problem}", line=line) from error
    except (yaml.YAMLError, ValueError) as error:
        raise faults.one("", f"the header is not YAML: {error}") from error
    if document is not None and not isinstance(document, dict):
        raise faults.one("", "the header must be a mapping", hint="write lines such as 'description: …'")
    try:
        return Header.model_validate(document or {})
    except ValidationError as error:
        faults.add_all(error, (), lambda: f"one of: {', '.join(Header.model_fields)}")
        faults.raise_if_any()
        raise
