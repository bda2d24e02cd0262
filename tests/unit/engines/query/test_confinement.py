from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFINED = """
import os, socket, sys
from pathlib import Path
from headwater.engines.query import confinement
confinement.limit_process(1 << 31)
gap = confinement.restrict_files([Path(sys.argv[1])])
if gap:
    print("gap", gap); raise SystemExit
print("inside", open(sys.argv[1] + "/a").read())
for name, attempt in {
    "read": lambda: open("/etc/passwd").read(),
    "list": lambda: os.listdir("/"),
    "write": lambda: open(sys.argv[1] + "/b", "w"),
    "remove": lambda: os.remove(sys.argv[1] + "/a"),
    "connect": lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2])), 1),
    "memory": lambda: bytearray(1 << 32),
}.items():
    try:
        attempt()
    except (PermissionError, MemoryError) as error:
        print(name, "refused")
    else:
        print(name, "ALLOWED")
"""


def test_a_confined_process_reads_its_directory_and_nothing_else(tmp_path: Path, unused_tcp_port: int) -> None:
    (tmp_path / "a").write_text("content")
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, str(tmp_path), str(unused_tcp_port)],
        capture_output=True,
        text=True,
        check=True,
    )
    if done.stdout.startswith("gap"):
        pytest.skip(done.stdout)
    assert done.stdout.split("\n")[:-1] == [
        "inside content",
        *(f"{name} refused" for name in ("read", "list", "write", "remove", "connect", "memory")),
    ]
