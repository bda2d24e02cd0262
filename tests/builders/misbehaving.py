"""A Python model that does what its input says, good or bad, and what it needs to be asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.builders.executors import spec_of
from tests.builders.frameworks import zipped

from headwater.contracts.model import Field, LogicalType
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import OutputSpec
from headwater.engines.models import open_executor
from headwater.engines.models.isolated.executor import IsolatedExecutor

CODE = r"""
import ctypes, os, signal, socket, subprocess, sys, time
from pathlib import Path

HOARD = []


class Model:
    def __init__(self, directory):
        self.directory = Path(directory)

    def predict(self, columns):
        said = [self.obey(order) for order in columns["order"]]
        if said == ["WIDE"]:
            return {"said": [["a", "b"]]}
        if said == ["NUMBER"]:
            return {"said": [1.5]}
        if said == ["LIST"]:
            return said
        return {"said": said}

    def obey(self, order):
        verb, _, rest = order.partition(" ")
        if verb == "raise":
            raise ValueError(rest)
        if verb == "exit":
            sys.exit(3)
        if verb == "sleep":
            time.sleep(float(rest))
        if verb == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "crash":
            ctypes.string_at(0)
        if verb == "leak":
            while True:
                HOARD.append(bytearray(1 << 20))
        if verb == "print":
            print(rest)
        if verb == "flood":
            for number in range(int(rest)):
                print("flood", number)
        if verb == "answer":
            return rest
        if verb == "pid":
            return str(os.getpid())
        if verb == "environment":
            return " ".join(sorted(os.environ))
        if verb == "descriptors":
            links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
            return " ".join(os.readlink(link) for link in links if os.path.lexists(link))
        if verb == "read":
            return tried(lambda: Path(rest).read_bytes().decode(errors="replace"))
        if verb == "write":
            return tried(lambda: Path(rest).write_text("x"))
        if verb == "connect":
            return tried(lambda: socket.create_connection(("127.0.0.1", int(rest)), timeout=2))
        if verb == "run":
            return tried(lambda: subprocess.run(rest.split(), check=True))
        if verb == "fork":
            child = os.fork()
            if child == 0:
                time.sleep(600)
            return str(child)
        return order


def tried(action):
    try:
        return f"done: {action()}"
    except OSError as error:
        return f"{type(error).__name__}"
"""
ORDER = Field("order", LogicalType.STRING)
SAID = OutputSpec(name="said", type="string")


def archive(directory: Path, code: str = CODE, **files: str | bytes) -> Path:
    return zipped(directory / "model.zip", {"model.py": code, **files})


def open_obedient(directory: Path, code: str = CODE, **members: Any) -> IsolatedExecutor:
    settings = InferenceSettings(**members.pop("settings", {}))
    spec = spec_of("python", [ORDER], [SAID], **members)
    opened = open_executor(spec, archive(directory, code), [ORDER], settings=settings)
    assert isinstance(opened, IsolatedExecutor)
    return opened


@contextmanager
def obedient(directory: Path, **members: Any) -> Iterator[IsolatedExecutor]:
    executor = open_obedient(directory, **members)
    try:
        yield executor
    finally:
        executor.close()


async def tell(executor: IsolatedExecutor, *orders: str) -> list[str]:
    [said] = await executor.run_columns([list(orders)])
    texts: list[str] = said.tolist()
    return texts


@dataclasses.dataclass
class Logged:
    """What was logged: structlog's own events, as a test captures them."""

    entries: list[Any]

    def lines(self, event: str) -> list[Any]:
        return [entry for entry in self.entries if entry["event"] == event]
