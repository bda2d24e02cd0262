"""Commands, control and the worker write to one SQLite file at once: nobody is turned away, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from headwater.control.kit.database import BUSY_TIMEOUT_SECONDS

PRELUDE = """
import json, sys, time
from pathlib import Path
from headwater.core.settings import load_settings
from headwater.control import bootstrap
settings = load_settings({"home": Path(sys.argv[1])}, environ={}, file=Path("/nonexistent"))
bootstrap.bootstrap(settings)
from headwater.control.start import create_key
from headwater.control.access.models import ApiKey
from headwater.control.access.actions import revoke_key
from headwater.control.audit.verify import verify_all
from headwater.control.kit import outbox
from headwater.control.kit.actions import SYSTEM
from headwater.control.snapshots.models import Snapshot
from headwater.control.snapshots.publish import publish_all
from headwater.control.snapshots.watch import _read_heads
until, rounds, live = time.monotonic() + float(sys.argv[2]), 0, []
while time.monotonic() < until:
    rounds += 1
"""
COMMAND = """
    made = create_key(settings, f"{sys.argv[3]}-{rounds}", "producer", scopes=(), expires_at=None)
    if rounds % 3 == 0:
        revoke_key(actor=SYSTEM, key=ApiKey.unscoped.get(key_prefix=made.prefix))
    else:
        live.append(made.prefix)
print(json.dumps({"rounds": rounds, "live": live}))
"""
WORKER = """
    publish_all()
    outbox.relay(lambda event: None)
    verify_all()
print(json.dumps({"rounds": rounds, "live": []}))
"""
WATCH = """
    assert _read_heads() is not None
    time.sleep(0.02)
print(json.dumps({"rounds": rounds, "live": []}))
"""
RESULT = """
    break
newest = Snapshot.unscoped.order_by("-number").first()
print(json.dumps({
    "whole": [report.problem for report in verify_all()],
    "keys": [key["prefix"] for key in json.loads(newest.payload)["keys"].values()],
}))
"""


def start(script: str, home: Path, seconds: float, name: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, str(home), str(seconds), name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, list[str]]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    answer: dict[str, list[str]] = json.loads(out)
    return answer


def test_nobody_who_writes_is_turned_away(tmp_path: Path) -> None:
    home = tmp_path / "home"
    finish(start(RESULT, home, 1))
    # Longer than SQLite waits for a lock: whoever never gets a turn fails.
    seconds = BUSY_TIMEOUT_SECONDS + 3
    commands = [start(COMMAND, home, seconds, f"command{number}") for number in range(3)]
    others = [start(WORKER, home, seconds), start(WATCH, home, seconds)]
    answers = [finish(process) for process in [*commands, *others]]
    assert all(answer["rounds"] for answer in answers)
    result = finish(start(RESULT, home, 1))
    assert not any(result["whole"])
    assert set(result["keys"]) >= {prefix for answer in answers for prefix in answer["live"]}
    local = 1
    assert len(result["keys"]) == local + sum(len(answer["live"]) for answer in answers)
