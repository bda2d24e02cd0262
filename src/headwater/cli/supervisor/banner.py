"""What a person needs to know once everything runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Banner:
    """The facts; ``password`` is only known on the first start, and only then is the key itself shown."""

    seconds: float
    memory: Mapping[str, int]
    control_url: str
    services_url: str
    email: str | None = None
    password: str | None = None
    api_key: str | None = None
    key_file: Path | None = None
    try_path: str | None = None
    missing: Sequence[str] = field(default_factory=tuple)

    def public_lines(self) -> list[str]:
        """Return what may be logged: how long it took, memory, addresses."""
        memory = ", ".join(f"{name} {_mib(size)}" for name, size in self.memory.items())
        state = f"not ready: {', '.join(self.missing)}" if self.missing else "ready"
        return [
            f"{state} after {self.seconds:.1f} s, {_mib(sum(self.memory.values()))} resident: {memory}",
            f"console   {self.control_url}/",
            f"admin     {self.control_url}/admin/",
            f"API docs  {self.services_url}/docs and {self.control_url}/api/v1/docs",
        ]

    def private_text(self) -> str:
        """Return what only the terminal may see: login, key and a line that can be pasted."""
        lines = []
        if self.email:
            shown = self.password or "(shown on the first start; `headwater users create-admin` makes another)"
            lines += [f"  login     {self.email}", f"  password  {shown}"]
        if self.api_key:
            lines.append(f"  API key   {self.api_key if self._shows_key else f'in {self.key_file}'}")
            if self._curl:
                lines += ["  try it:", "", f"  {self._curl}", ""]
        return "\n".join(lines)

    def private_facts(self) -> dict[str, str | None]:
        """Return the same for machines; null is what is not to be shown."""
        return {
            "login": self.email,
            "password": self.password,
            "api_key": self.api_key if self._shows_key else None,
            "api_key_file": str(self.key_file) if self.key_file else None,
            "try_it": self._curl,
        }

    @property
    def _shows_key(self) -> bool:
        return self.password is not None or self.key_file is None

    @property
    def _curl(self) -> str | None:
        if not self.api_key or not self.try_path:
            return None
        key = self.api_key if self._shows_key else f"$(cat {shlex.quote(str(self.key_file))})"
        return f"curl -H \"Authorization: Bearer {key}\" '{self.services_url}{self.try_path}'"


def _mib(size: int) -> str:
    return f"{size / _MIB:.0f} MB"
