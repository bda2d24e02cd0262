"""One frozen ``Settings`` object: flags over environment over ``headwater.toml`` over defaults.

Environment variables are ``HEADWATER_<SECTION>__<NAME>``; the two without a section are ``HEADWATER_HOME`` and
``HEADWATER_PROJECT``. An unknown or ill-typed setting is an error that names it, where it was set and the cure.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import (
    ArtifactsSettings,
    BatchSettings,
    BrokerSettings,
    CacheSettings,
    ControlSettings,
    DatabaseSettings,
    IdentitySettings,
    InferenceSettings,
    IngestSettings,
    JournalSettings,
    LakeSettings,
    LogSettings,
    OnlineSettings,
    QuerySettings,
    Section,
    ServicesSettings,
    TargetSettings,
    UpSettings,
)

PREFIX: Final = "HEADWATER_"
#: What the client reads: no settings, although they share the prefix.
_CLIENT_VARIABLES: Final = frozenset({f"{PREFIX}URL", f"{PREFIX}API_KEY"})
_LISTS: Final = frozenset(
    {
        "control.allowed_hosts",
        "control.trusted_proxies",
        "services.trusted_proxies",
        "inference.remote_networks",
        "inference.remote_variables",
        "up.after_start",
    }
)
FILE_NAME: Final = "headwater.toml"
#: Where a server that listens on every address is reached.
_EVERY: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here


class Settings(Section):
    """Everything that can be set. ``home`` holds all local state, ``project`` the declared resources."""

    home: Path = Path(".headwater")
    project: Path | None = None
    control: ControlSettings = ControlSettings()
    identity: IdentitySettings = IdentitySettings()
    services: ServicesSettings = ServicesSettings()
    database: DatabaseSettings = DatabaseSettings()
    journal: JournalSettings = JournalSettings()
    lake: LakeSettings = LakeSettings()
    cache: CacheSettings = CacheSettings()
    broker: BrokerSettings = BrokerSettings()
    artifacts: ArtifactsSettings = ArtifactsSettings()
    ingest: IngestSettings = IngestSettings()
    query: QuerySettings = QuerySettings()
    inference: InferenceSettings = InferenceSettings()
    batch: BatchSettings = BatchSettings()
    online: OnlineSettings = OnlineSettings()
    log: LogSettings = LogSettings()
    target: TargetSettings = TargetSettings()
    up: UpSettings = UpSettings()

    @property
    def control_url(self) -> str:
        """Return where control is reached."""
        return self.control.url or f"http://{reachable(self.control.host)}:{self.control.port}"

    @property
    def services_url(self) -> str:
        """Return where services are reached."""
        return self.services.url or f"http://{reachable(self.services.host)}:{self.services.port}"

    @property
    def lake_folder(self) -> Path:
        """Return where the lake lies; raises ``setting_invalid`` for a URL that names another kind of storage."""
        if self.lake.url is None:
            return self.home / "lake"
        scheme, separator, rest = self.lake.url.partition("://")
        if separator and scheme != "file":
            raise HeadwaterError(
                "setting_invalid",
                f"lake.url {self.lake.url[:80]!r} names a kind of storage that this version does not have",
                hint="use file:///path or a plain path, or leave it out",
            )
        return Path(rest if separator else self.lake.url)

    def to_environment(self) -> dict[str, str]:
        """Return the variables that give a child process these very settings, whatever its flags and file."""
        variables = {f"{PREFIX}HOME": str(self.home)}
        if self.project is not None:
            variables[f"{PREFIX}PROJECT"] = str(self.project)
        for section in _section_names():
            values: Section = getattr(self, section)
            for name, value in values:
                # Defaults too: the file must not win over a flag that repeats the default. What `up` runs once
                # ready is its own affair, and its commands may hold commas.
                if value is not None and section != "up":
                    text = ",".join(value) if isinstance(value, tuple) else str(value)
                    variables[f"{PREFIX}{section.upper()}__{name.upper()}"] = text
        return variables


def reachable(host: str) -> str:
    """Return what stands in the URL of a server that listens on ``host``: one address, in brackets if it is IPv6."""
    address = _EVERY.get(host, host)
    return f"[{address}]" if ":" in address else address


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Read the settings.

    Args:
        flags: dotted names to values, such as ``{"home": Path("x"), "control.port": 9000}``; None means absent.
        environ: defaults to the process's environment.
        file: defaults to ``headwater.toml`` in the project directory or, without one, in the current directory.

    Raises:
        HeadwaterError: ``setting_invalid`` naming the setting, where it came from and the cure.
    """
    environ = os.environ if environ is None else environ
    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    project = flags.get("project") or environ.get(f"{PREFIX}PROJECT")
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}

    def put(dotted: str, value: Any, origin: str) -> None:
        section, _, name = dotted.rpartition(".")
        if section and not isinstance(merged.setdefault(section, {}), dict):
            raise HeadwaterError(
                "setting_invalid",
                f"{section!r} in {origins[section]} must be a table of settings",
                hint=f"write [{section}] with its settings below",
            )
        (merged[section] if section else merged)[name] = value
        origins[dotted] = origin

    path = file or Path(project or ".") / FILE_NAME
    for dotted, value in _read_file(path):
        put(dotted, value, str(path))
    for variable, value in environ.items():
        if variable.startswith(PREFIX) and variable not in _CLIENT_VARIABLES:
            dotted = variable.removeprefix(PREFIX).lower().replace("__", ".")
            put(dotted, _split_lists(dotted, value), f"the environment variable {variable}")
    for dotted, value in flags.items():
        put(dotted, value, f"the flag --{dotted.replace('.', '-')}")
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise _explain(error, origins) from error
    return settings.model_copy(
        update={
            "home": settings.home.expanduser().absolute(),
            "project": settings.project and settings.project.expanduser().absolute(),
        }
    )


def _section_names() -> list[str]:
    return [name for name in Settings.model_fields if name not in ("home", "project")]


def _read_file(path: Path) -> list[tuple[str, Any]]:
    """Return dotted names and values of a settings file; a missing file is an empty one."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise HeadwaterError(
            "setting_invalid", f"{path} cannot be read: {error}", hint="mend or remove the file"
        ) from error
    pairs: list[tuple[str, Any]] = []
    for name, value in document.items():
        if isinstance(value, dict):
            pairs.extend((f"{name}.{inner}", item) for inner, item in value.items())
        else:
            pairs.append((name, value))
    return pairs


def _split_lists(dotted: str, value: str) -> Any:
    """Return a comma-separated variable as a list where the setting is one."""
    return [item.strip() for item in value.split(",") if item.strip()] if dotted in _LISTS else value


def _explain(error: ValidationError, origins: Mapping[str, str]) -> HeadwaterError:
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"][:2])
    # A setting of an unknown section, or a value where a section belongs.
    near = (o for name, o in origins.items() if name.startswith(f"{dotted}.") or dotted.startswith(f"{name}."))
    origin = origins.get(dotted) or next(near, "the defaults")
    if first["type"] == "extra_forbidden":
        return HeadwaterError(
            "setting_invalid",
            f"there is no setting {dotted!r} (set by {origin})",
            hint="see docs/reference/settings.md for every setting, or remove it",
        )
    return HeadwaterError(
        "setting_invalid",
        f"{dotted!r}, set by {origin}: {first['msg'][0].lower()}{first['msg'][1:]} (got {str(first['input'])[:80]!r})",
        hint=f"change it in {origin}",
    )
