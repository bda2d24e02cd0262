"""Feature flags: what an evaluation takes, and requests for one flag and for 200 beside a raw ASGI server.

Of the 200 flags half have a rule over the context and a share of a quarter behind it. A bulk request is asked with
the same context again and again, with a thousand contexts in turn, and with the entity tag of what it would answer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness import HEADWATER, HERE, free_port, median, print_table, server, write_results, wrk
from headwater.core.flags import CompiledFlags, FlagSpec, PrerequisiteSpec, RuleSpec, WeightSpec, compile_flags
from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot, public_key_text
from headwater.core.snapshot import EnvironmentSpec, KeySpec, Snapshot
from headwater.services.kit.snapshot_store import SnapshotStore

KEY = "hw_benchkey_abcdefghijklmnopqrstuvwxyz234567"
FLAGS = 200
CONTEXTS = 1_000
PATH = "/ofrep/v1/evaluate/flags"
RULE = RuleSpec(when="country in ('DE', 'FR') and age >= 18", variant="on")
SHARE = RuleSpec(variant="on", share_bps=2_500)
CONNECTIONS = 32


def make_flag(key: str, **fields: Any) -> FlagSpec:
    defaults: dict[str, Any] = {
        "id": key, "key": key, "type": "boolean", "variants": {"on": True, "off": False}, "enabled": True,
        "default_variant": "off", "off_variant": "off", "salt": key,
    }  # fmt: skip
    return FlagSpec(**(defaults | fields))


def make_flags() -> dict[str, FlagSpec]:
    flags = [make_flag(f"flag-{n:03}", rules=(RULE, SHARE) if n % 2 else ()) for n in range(FLAGS)]
    return {flag.key: flag for flag in flags}


def context(number: int) -> dict[str, Any]:
    return {"targetingKey": f"user-{number}", "country": "US" if number % 3 else "DE", "age": number % 90}


def evaluation_us() -> dict[str, float]:
    """Return the microseconds of one evaluation, context included, by kind of flag."""
    split = (WeightSpec(variant="on", weight_bps=5_000), WeightSpec(variant="off", weight_bps=5_000))
    kinds = {
        "static": make_flag("static"),
        "rule": make_flag("rule", rules=(RULE,)),
        "rule and share": make_flag("share", rules=(RULE, SHARE)),
        "split": make_flag("split", rules=(RuleSpec(split=split),)),
        "prerequisite, ten rules and a share": make_flag(
            "long",
            prerequisites=(PrerequisiteSpec(flag="static", variants=("off",)),),
            rules=(*(RuleSpec(when=f"country = 'X{n}' and age >= {n}", variant="on") for n in range(10)), SHARE),
        ),
    }
    flags = compile_flags({flag.key: flag for flag in kinds.values()})
    now = datetime.now(UTC)
    contexts = [context(n) for n in range(CONTEXTS)]
    return {kind: best_us(partial(_evaluate, flags, flag.key, now), contexts) for kind, flag in kinds.items()}


def _evaluate(flags: CompiledFlags, key: str, now: datetime, one: dict[str, Any]) -> None:
    flags.evaluate(key, one, now)


def best_us(act: Callable[[dict[str, Any]], Any], contexts: list[dict[str, Any]]) -> float:
    """Return the median of seven rounds."""
    rounds = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(5):
            for one in contexts:
                act(one)
        rounds.append((time.perf_counter() - began) / (5 * len(contexts)) * 1e6)
    return float(median(rounds))


def make_home(directory: Path) -> None:
    """Write what a services process needs to serve without control."""
    home = Home(directory)
    home.prepare()
    key = Ed25519PrivateKey.generate()
    home.snapshot_public_key.write_text(public_key_text(key))
    home.node_token.write_text("bench")
    holder = KeySpec(
        id="key_1", prefix="benchkey", principal_id="sva_1", principal_label="bench",
        allowances=frozenset({"flag.evaluate:*"}),
    )  # fmt: skip
    snapshot = Snapshot(
        number=1,
        compiled_at=datetime.now(UTC),
        environment=EnvironmentSpec(id="env_1", key="bench", project="bench", organization="bench"),
        keys={hashlib.sha256(KEY.encode()).hexdigest(): holder},
        flags=make_flags(),
    )
    SnapshotStore(home.snapshots).save(SignedSnapshot.sign(snapshot, key), snapshot)


@contextmanager
def running(directory: Path, answer_bytes: int) -> Iterator[dict[str, tuple[str, psutil.Process]]]:
    """Run Headwater's flag service and a raw ASGI server; yield their addresses and processes."""
    ours, raw = free_port(), free_port()
    command = [HEADWATER, "serve", "services", "--only", "flags", "--home", directory, "--port", str(ours)]
    peer = [
        sys.executable, "-m", "uvicorn", "raw_asgi_sized:app", "--app-dir", HERE / "peers", "--port", str(raw),
        "--log-level", "warning", "--no-access-log",
    ]  # fmt: skip
    with (
        server(command, f"http://127.0.0.1:{ours}/livez") as ours_process,
        server(peer, f"http://127.0.0.1:{raw}/", env={"ANSWER_BYTES": str(answer_bytes)}) as raw_process,
    ):
        yield {
            "headwater": (f"http://127.0.0.1:{ours}", psutil.Process(ours_process.pid)),
            "raw ASGI": (f"http://127.0.0.1:{raw}", psutil.Process(raw_process.pid)),
        }


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def requests_per_second(seconds: int, rounds: int) -> dict[str, Any]:
    """Return requests a second of both by what is asked, and the ratio."""
    import httpx

    with tempfile.TemporaryDirectory(prefix="bench-flags-") as scratch:
        root = Path(scratch)
        make_home(root / "home")
        same, many = root / "same.json", root / "many.json"
        same.write_text(json.dumps({"context": context(1)}))
        many.write_text("\n\f\n".join(json.dumps({"context": context(n)}) for n in range(CONTEXTS)))
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        size = _answer(root / "home", same.read_bytes(), headers)
        with running(root / "home", size) as addresses:
            reply = httpx.post(addresses["headwater"][0] + PATH, content=same.read_bytes(), headers=headers)
            known = headers | {"If-None-Match": reply.headers["etag"]}
            asked = {
                "one flag": ("/flag-001", same, headers),
                "200 flags, the same context": ("", same, headers),
                "200 flags, 1,000 contexts": ("", many, headers),
                "200 flags, unchanged (304)": ("", same, known),
            }
            found: dict[str, dict[str, list[float]]] = {what: {name: [] for name in addresses} for what in asked}
            spent: dict[str, dict[str, list[float]]] = {what: {name: [] for name in addresses} for what in asked}
            for _ in range(rounds):
                for what, (suffix, body, sent) in asked.items():
                    for name, (url, process) in addresses.items():
                        before = cpu_seconds(process)
                        load = wrk(
                            url + PATH + suffix, body=body, headers=sent, connections=CONNECTIONS, seconds=seconds
                        )
                        if load.errors:
                            raise RuntimeError(f"{name}: {load.errors} errors for {what}")
                        found[what][name].append(load.per_second)
                        requests = load.per_second * seconds
                        spent[what][name].append((cpu_seconds(process) - before) / requests * 1e6)
    figures = {what: {name: round(median(values)) for name, values in by.items()} for what, by in found.items()}
    cpu = {what: {name: round(median(values)) for name, values in by.items()} for what, by in spent.items()}
    return {
        "answer_bytes": size,
        "connections": CONNECTIONS,
        "requests_per_second": {
            what: by | {"ratio": round(by["headwater"] / by["raw ASGI"], 3)} for what, by in figures.items()
        },
        # A neighbour's load slows requests down, and hardly what each of them costs.
        "cpu_us_per_request": cpu,
    }


def _answer(home: Path, body: bytes, headers: dict[str, str]) -> int:
    """Return the size of the answer to a bulk request, so that the ceiling sends as much."""
    import httpx

    port = free_port()
    command = [HEADWATER, "serve", "services", "--only", "flags", "--home", home, "--port", str(port)]
    with server(command, f"http://127.0.0.1:{port}/livez"):
        deadline = time.monotonic() + 30
        while True:
            reply = httpx.post(f"http://127.0.0.1:{port}{PATH}", content=body, headers=headers)
            if reply.status_code == 200 or time.monotonic() > deadline:
                return len(reply.raise_for_status().content)
            time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    evaluation = evaluation_us()
    print_table("One evaluation", ("flag", "µs"), [(kind, f"{us:.2f}") for kind, us in evaluation.items()])
    served = requests_per_second(arguments.seconds, arguments.rounds)
    rows = [
        (
            what,
            f"{by['headwater']:,}",
            f"{by['raw ASGI']:,}",
            f"{by['ratio']:.0%}",
            *(f"{served['cpu_us_per_request'][what][name]:,}" for name in ("headwater", "raw ASGI")),
        )
        for what, by in served["requests_per_second"].items()
    ]
    print_table(
        "Requests a second, one worker", ("asked", "Headwater", "raw ASGI", "share", "CPU µs", "raw CPU µs"), rows
    )
    write_results("flags", {"evaluation_us": {k: round(v, 2) for k, v in evaluation.items()}, **served})


if __name__ == "__main__":
    main()
