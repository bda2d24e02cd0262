"""The layout of a home directory: where every piece of local state lies, and which format wrote it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headwater.core.errors import HeadwaterError

FORMAT_VERSION: Final = 1
AUDIT_FOLDER: Final = "_audit"
"""Where the audit log's segments lie in the lake."""
#: What the table store cannot have in a path: it takes paths for URLs on the way.
_UNFIT: Final = re.compile(r"[\[\]^|\\\x00-\x1f]|%[0-9A-Fa-f]{2}")


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one home directory. The properties touch no disk."""

    root: Path

    @property
    def format_file(self) -> Path:
        """Return the file that names the home's format version."""
        return self.root / "FORMAT"

    @property
    def control_database(self) -> Path:
        """Return the embedded control database."""
        return self.root / "control.sqlite3"

    @property
    def journal(self) -> Path:
        """Return the directory of the embedded journal."""
        return self.root / "journal"

    @property
    def lake(self) -> Path:
        """Return the directory of the Delta tables."""
        return self.root / "lake"

    @property
    def accelerator(self) -> Path:
        """Return the directory of the files that answer often asked tables; all of it can be made anew."""
        return self.root / "accelerator"

    @property
    def artifacts(self) -> Path:
        """Return the directory of model artifacts."""
        return self.root / "artifacts"

    @property
    def online(self) -> Path:
        """Return the directory of the embedded online store."""
        return self.root / "online"

    @property
    def monitoring(self) -> Path:
        """Return the directory of the profiles of what models saw."""
        return self.root / "monitoring"

    @property
    def jobs(self) -> Path:
        """Return the directory of the embedded job queue."""
        return self.root / "jobs"

    @property
    def run(self) -> Path:
        """Return the directory of locks, sockets, keys and the last good snapshots."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """Return the directory of log files."""
        return self.root / "logs"

    @property
    def snapshots(self) -> Path:
        """Return where services keep the last good snapshots."""
        return self.run / "snapshots"

    @property
    def snapshot_public_key(self) -> Path:
        """Return the public key that services trust."""
        return self.run / "snapshot.pub"

    @property
    def snapshot_private_key(self) -> Path:
        """Return the key that control signs snapshots with."""
        return self.run / "snapshot.key"

    @property
    def node_token(self) -> Path:
        """Return the token that services and control show each other on ``/internal/v1``."""
        return self.run / "node.token"

    @property
    def django_secret(self) -> Path:
        """Return Django's secret key."""
        return self.run / "django.secret"

    @property
    def demo_key(self) -> Path:
        """Return the API key that the first start made, for the commands run on this machine."""
        return self.run / "demo.key"

    @property
    def valkey(self) -> Path:
        """Return the directory of the embedded Valkey's data."""
        return self.root / "valkey"

    @property
    def valkey_socket(self) -> Path:
        """Return the socket of the embedded Valkey."""
        return self.run / "valkey.sock"

    def prepare(self) -> None:
        """Create the directories, or check an existing home; idempotent.

        Raises:
            HeadwaterError: ``home_unusable`` when the folder cannot be written, ``home_version`` when another format
                wrote it. Nothing is touched in either case.
        """
        unfit = _UNFIT.search(str(self.root))
        if unfit:
            raise HeadwaterError(
                "home_unusable",
                f"{str(self.root)!r} cannot be used: tables cannot lie below a folder with {unfit[0]!r} in its name",
                hint="rename the folder or choose another with --home",
            )
        try:
            found = self.format_file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            found = None
        except (OSError, ValueError) as error:
            raise self._unusable(error) from error
        if found is not None and found != str(FORMAT_VERSION):
            newer = found.isdigit() and int(found) > FORMAT_VERSION
            raise HeadwaterError(
                "home_version",
                f"{self.root} has format {found[:20]!r}; this Headwater reads format {FORMAT_VERSION}",
                hint="use the newer Headwater that wrote it, or another --home"
                if newer
                else "run the Headwater that wrote it, or choose another --home",
            )
        try:
            for directory in (self.root, self.journal, self.lake, self.artifacts, self.run, self.logs, self.snapshots):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if found is None:
                self.format_file.write_text(f"{FORMAT_VERSION}\n", encoding="ascii")
            if not os.access(self.root, os.W_OK):
                raise PermissionError(13, "not writable", str(self.root))
        except OSError as error:
            raise self._unusable(error) from error

    def kept_environments(self) -> list[str]:
        """Return the environments that services keep a configuration of: those that were ever published here."""
        try:
            return sorted(entry.name for entry in self.snapshots.iterdir() if entry.name.startswith("env_"))
        except OSError:
            return []

    def write_secret(self, path: Path, content: bytes) -> None:
        """Write ``content`` so that only the owner can read it (mode 0600), atomically."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def _unusable(self, error: Exception) -> HeadwaterError:
        return HeadwaterError(
            "home_unusable",
            f"{self.root} cannot be used: {getattr(error, 'strerror', None) or error}",
            hint="make the folder writable or choose another with --home",
        )
