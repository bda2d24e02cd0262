"""Train the champion and a challenger on the spring of 2013, and deploy both: one answers, one watches.

The training frame comes from the platform: validated flights of a SQL endpoint, joined with the feature views as they
were at each flight's scheduled hour. Run again, it finds the models in place and trains nothing; remove ``models`` and
``challengers`` to train anew.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import yaml
from registry import CHALLENGER, CHAMPION, MODEL, open_registry, versions

from headwater.client import Registry


def push(registry: Registry, directory: Path, *options: str) -> int:
    """Register what a directory holds, unless it is there; return the version's number."""
    artifact = yaml.safe_load((directory / "model.yaml").read_text())["artifact"]
    digest = hashlib.sha256((directory / artifact).read_bytes()).hexdigest()
    known = {version["artifact_sha256"]: version["number"] for version in versions(registry)}
    if digest in known:
        return int(known[digest])
    headwater = Path(sys.executable).with_name("headwater")
    done = subprocess.run(
        [headwater, "models", "push", directory, *options, "--json"], check=False, stdout=subprocess.PIPE
    )
    if done.returncode:
        sys.exit(done.returncode)
    pushed = json.loads(done.stdout)
    failed = [check["name"] for check in pushed["checks"] if check["status"] == "failed"]
    print(f"version {pushed['version']} is registered; checks that failed: {', '.join(failed) or 'none'}", flush=True)
    return int(pushed["version"])


def deploy() -> None:
    """Push both versions; the first takes all traffic, the second sees it too and answers nobody.

    A challenger that was tried before is left to who decides on it.
    """
    with open_registry() as registry:
        push(registry, CHAMPION)
        challenger = push(registry, CHALLENGER, "--hold")
        tried = {route["version"] for rollout in registry.rollouts(MODEL) for route in rollout["routes"]}
        if challenger not in tried:
            registry.promote(MODEL, challenger, role="shadow", reason="what would it say?")


def main() -> int:
    """Train unless it was done before; push and deploy."""
    if not (CHAMPION.exists() and CHALLENGER.exists()):
        # Only here, so that a later start loads no machine learning.
        from learn import build_missing  # noqa: PLC0415

        build_missing()
    deploy()
    return 0


if __name__ == "__main__":
    sys.exit(main())
