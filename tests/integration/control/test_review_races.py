"""Many reviewers who reach for the same tasks at once, on both databases: each task has one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.control.test_postgresql import INITDB, POSTGRES, server

__all__ = ["server"]

SCRIPT = """
import json, sys, threading
from collections import Counter
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from headwater.core.settings import load_settings
from headwater.control import bootstrap
flags = {"home": Path(sys.argv[1])} | ({"database.url": sys.argv[2]} if sys.argv[2] else {})
settings = load_settings(flags, environ={}, file=Path("/nonexistent"))
bootstrap.bootstrap(settings)
from django.db import connections
from tests.builders.reviews import FakePlane, make_queue, make_tasks
from headwater.control.access.queries import get_environment
from headwater.control.audit.verify import verify_all
from headwater.control.kit.actions import Actor
from headwater.control.reviews.actions import claim_next, claim_task, decide_task
from headwater.control.reviews.feeding import feed
from headwater.control.reviews.models import ReviewDecision, ReviewTask
from headwater.core.errors import HeadwaterError
environment = get_environment("default", "default", "development")
queue = make_queue(environment)
make_tasks(queue, environment, 16)
(contested,) = make_tasks(make_queue(environment, key="one"), environment)
people = [Actor("system", f"usr_{n}", f"reviewer {n}") for n in range(4)]
won, decided, single, failures, fed = Counter(), Counter(), [], [], []
start = threading.Barrier(len(people))
def work(actor):
    try:
        start.wait()
        try:
            claim_task(actor=actor, task=ReviewTask.unscoped.select_related("queue", "form").get(pk=contested.pk))
            single.append(actor.id)
        except HeadwaterError as error:
            if error.code != "conflict": raise
        while (task := claim_next(actor=actor, queue=queue, environment=environment)) is not None:
            won[str(task.pk)] += 1
            decide_task(actor=actor, task=task, verdict="label", answers={"late": True})
            decided[actor.id] += 1
    except Exception as error:
        failures.append(repr(error)[:300])
    finally:
        connections.close_all()
threads = [threading.Thread(target=work, args=(actor,)) for actor in people]
[t.start() for t in threads]; [t.join() for t in threads]
other = make_queue(environment, key="fed")
plane = FakePlane(scores=[0.5] * 12)
def feeder():
    try:
        fed.append(feed(plane, other, environment))
    except HeadwaterError as error:
        fed.append(error.code)
    except Exception as error:
        failures.append(repr(error)[:300])
    finally:
        connections.close_all()
threads = [threading.Thread(target=feeder) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
feed(plane, other, environment)
print(json.dumps({
    "most": max(won.values()), "tasks": len(won), "single": len(single), "failures": failures,
    "decisions": ReviewDecision.unscoped.filter(task__queue=queue).count(),
    "states": sorted(set(ReviewTask.unscoped.filter(queue=queue).values_list("state", flat=True))),
    "fed": ReviewTask.unscoped.filter(queue=other).count(),
    "whole": [r.problem for r in verify_all() if not r.is_whole],
}))
"""


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_each_task_is_claimed_by_one_reviewer_and_decided_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "postgresql" and not (POSTGRES and INITDB):
        pytest.skip("no PostgreSQL server on this machine (apt-get install postgresql)")
    url = request.getfixturevalue("server") if kind == "postgresql" else ""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "home"), str(url), str(root)],
        capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "HEADWATER_HOME": str(tmp_path / "home"), "PYTHONPATH": str(root / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result == {
        "most": 1, "tasks": 16, "single": 1, "failures": [], "decisions": 16, "states": ["decided"], "fed": 12,
        "whole": [],
    }  # fmt: skip
