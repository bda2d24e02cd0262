"""Pages of the control plane over a large organisation, in SQLite and PostgreSQL: queries and server time of each.

Every page of the console is opened by an owner and by a developer, every list and form of the admin by an operator and
by staff of one organisation; lists are also searched, filtered, sorted and turned over. The services are away, so the
figures are of control alone. ``--scale 1`` is 1,000 members, 5,000 datasets, a million review tasks and ten million
audit events; it takes some ten gigabytes and half an hour.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from control_walk import MOST_MS, MOST_QUERIES, Visit, Walker, console_arguments, walk_admin, walk_console
from harness import ROOT, postgres, print_table, write_results

RUNS = 15


def measure(scale: float, runs: int) -> dict[str, Any]:
    """Seed the database that Django is set up with, and walk."""
    from bench.control_seed import Seeder, Sizes
    from django.db import connection

    from headwater.control.access.queries import get_environment
    from headwater.control.identity.models import User
    from headwater.control.reviews.models import ReviewTask

    environment = get_environment("default", "default", "development")
    # Made first: each of these actions publishes the environment.
    readers = {name: _reader(name, environment) for name in ("owner", "developer")}
    began = time.perf_counter()
    if not ReviewTask.objects.for_org(environment.org).exists():
        Seeder(environment).fill(Sizes.scaled(scale))
    seeded = time.perf_counter() - began
    print(f"{connection.vendor}: seeded in {seeded:.0f} s", flush=True)
    operator = User.objects.get(is_superuser=True)
    arguments = console_arguments(environment)
    visits: list[Visit] = []
    for name, user in readers.items():
        walker = Walker(name, user, runs)
        walk_console(walker, environment, arguments)
        visits += walker.visits
    for name, user in {"operator": operator, "staff": readers["owner"]}.items():
        walker = Walker(name, user, runs)
        walk_admin(walker)
        visits += walker.visits
    return {"seed_seconds": round(seeded), "visits": [asdict(visit) for visit in visits]}


def _reader(role: str, environment: Any) -> Any:
    from headwater.control.access.members import add_member
    from headwater.control.access.queries import get_role
    from headwater.control.identity.actions import change_staff, create_user
    from headwater.control.identity.models import User
    from headwater.control.kit.actions import SYSTEM

    email = f"{role}@example.org"
    if known := User.objects.filter(email=email).first():
        return known
    user = create_user(actor=SYSTEM, email=email, password=None)
    add_member(actor=SYSTEM, org=environment.org, user=user, role=get_role(role))
    change_staff(actor=SYSTEM, user=user, is_staff=True)
    return user


def worker(home: Path, url: str, scale: float, runs: int, output: Path) -> None:
    """Measure on one database; Django is set up once a process."""
    from headwater.control import bootstrap
    from headwater.core.logging import configure_logging
    from headwater.core.settings import load_settings

    given: dict[str, Any] = {"home": home, "services.url": "http://127.0.0.1:9", "log.level": "error"}
    if url:
        given["database.url"] = url
    settings = load_settings(given, environ={}, file=Path("/nonexistent"))
    configure_logging(settings.log, process="bench")
    bootstrap.bootstrap(settings)
    from django.urls import reverse

    reverse("home")  # the addresses bring the pages with them
    output.write_text(json.dumps(measure(scale, runs)))


def run_worker(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".json") as output, tempfile.TemporaryDirectory() as passing:
        home = arguments.home / ("postgresql" if url else "sqlite") if arguments.home else Path(passing)
        command = [sys.executable, __file__, "--worker", output.name, "--url", url, "--home", str(home)]
        command += ["--scale", str(arguments.scale), "--runs", str(arguments.runs)]
        subprocess.run(command, check=True)
        found: dict[str, Any] = json.loads(Path(output.name).read_text())
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--home", type=Path, help="keep the homes here, and seed only what is not there yet")
    parser.add_argument("--url", default="", help="a PostgreSQL to fill or filled before, instead of a passing one")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        sys.path.insert(0, str(ROOT))
        worker(arguments.home, arguments.url, arguments.scale, arguments.runs, arguments.worker)
        return
    results: dict[str, Any] = {}
    if arguments.only != "postgresql":
        results["sqlite"] = run_worker("", arguments)
    if arguments.only != "sqlite":
        with nullcontext(arguments.url) if arguments.url else postgres() as url:
            results["postgresql"] = run_worker(url, arguments)
    for database, found in results.items():
        show(database, found["visits"])
    write_results("control", {"scale": arguments.scale, "limits": {"queries": MOST_QUERIES, "ms": MOST_MS}, **results})


def show(database: str, visits: list[dict[str, Any]]) -> None:
    """Print the slowest pages, and how many are over the limit."""
    worst = sorted(visits, key=lambda visit: -visit["p95_ms"])[:25]
    shown = ("page", "reader", "queries", "cpu_ms", "median_ms", "p95_ms", "problem")
    rows = [tuple(visit[name] for name in shown) for visit in worst]
    over = sum(Visit(**visit).is_over for visit in visits)
    title = f"{database}: {over} of {len(visits)} pages over {MOST_QUERIES} queries or {MOST_MS} ms; the slowest"
    print_table(title, tuple(name.replace("_", " ") for name in shown), rows)


if __name__ == "__main__":
    main()
