"""A snapshot of thousands of datasets put in force while requests go on: how long it takes, and the slowest request.

The services start with the first of three snapshots on disk. Under load they are offered a second one in which one
dataset changed, then a third in which every dataset did. Nothing else differs, so the requests, each for the value of
one flag, say how long anything had to wait. The same load over the same time without a new snapshot stands beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from flags import KEY, PATH, make_flag
from harness import HEADWATER, HERE, free_port, get, print_table, server, write_results
from headwater.contracts.odcs import parse_contract
from headwater.contracts.spec import contract_to_spec
from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot, public_key_text
from headwater.core.snapshot import DatasetSpec, EnvironmentSpec, KeySpec, Snapshot
from headwater.services.kit.snapshot_store import SnapshotStore
from loadgen import Ask, Reply, load

DATASETS = 5_000
CONNECTIONS = 8
WINDOW_SECONDS = 20
START_SECONDS = 120
MOST_MS = 50
"""No request may take longer because of a new snapshot."""


def make_snapshot(number: int, contract: dict[str, Any], changed: int) -> Snapshot:
    """Return the snapshot of this number, in which the first ``changed`` datasets are not as they were before."""
    flag = make_flag("new-home")
    key = KeySpec(
        id="key_1",
        prefix="benchkey",
        principal_id="sva_1",
        principal_label="bench",
        allowances=frozenset({"flag.evaluate:*"}),
    )
    datasets = {}
    for n in range(DATASETS):
        said = f"as of snapshot {number if n < changed else 1}"
        version = contract | {"name": f"data_{n}", "description": said}
        datasets[f"data_{n}"] = DatasetSpec(
            id=f"ds_{n}", name=f"data_{n}", active_version="1.0", contracts={"1.0": version}, description=said
        )
    environment = EnvironmentSpec(id="env_bench", key="bench", project="bench", organization="bench")
    return Snapshot(
        number=number, compiled_at=datetime(2026, 1, 1, tzinfo=UTC), environment=environment, datasets=datasets,
        flags={flag.key: flag}, keys={sha256(KEY.encode()).hexdigest(): key},
    )  # fmt: skip


class Control(ThreadingHTTPServer):
    """The part of control that publishes snapshots, with their bytes made before anybody asks."""

    daemon_threads = True

    def __init__(self, port: int, snapshots: list[SignedSnapshot]) -> None:
        """Publish the first of ``snapshots``."""
        self.envelopes = [(one.sha256, one.to_bytes()) for one in snapshots]
        self.published = 0
        super().__init__(("127.0.0.1", port), Answers)


class Answers(BaseHTTPRequestHandler):
    """What services ask of control."""

    server: Control
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """List the environment, or send its newest snapshot once it is not the one that is known."""
        number = self.server.published
        digest, envelope = self.server.envelopes[number]
        if self.path == "/internal/v1/snapshots":
            return self._send(
                json.dumps({"environments": [{"id": "env_bench", "number": number + 1, "sha256": digest}]})
            )
        if self.headers["if-none-match"] != f'"{digest}"':
            return self._send(envelope)
        time.sleep(0.2)
        self.send_response(304)
        self.end_headers()
        return None

    def do_POST(self) -> None:
        """Take an acknowledgement."""
        self.rfile.read(int(self.headers["content-length"]))
        self._send("{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _send(self, body: str | bytes) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@dataclass(frozen=True)
class Window:
    """What requests took during one window."""

    requests: int
    failed: int
    median_ms: float
    p99_ms: float
    most_ms: float
    over: int
    in_force_after_seconds: float | None = None


def client(url: str, seconds: float) -> list[Reply]:
    """Ask for ``seconds``, in a process of its own: nothing else may hold this interpreter."""

    async def run() -> list[Reply]:
        ended = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, ended.set)
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        ask = Ask(f"{url}{PATH}/new-home", b'{"context": {"targetingKey": "user-1"}}', headers, lambda _: "")
        return await load(ask, connections=CONNECTIONS, until=ended)

    return asyncio.run(run())


def watch(url: str, control: Control, publish: int | None) -> Window:
    """Ask for a window's time and meanwhile publish a snapshot, if one is given."""
    command = [sys.executable, __file__, "--client", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(3)
        after = None
        if publish is not None:
            began = time.monotonic()
            control.published = publish
            while in_force(url) != publish + 1 and time.monotonic() - began < WINDOW_SECONDS:
                time.sleep(0.1)
            after = round(time.monotonic() - began, 1)
        replies = json.loads(process.communicate()[0])
    took = sorted(ms for ms, _ in replies)
    return Window(
        len(took), sum(not good for _, good in replies), took[len(took) // 2], took[int(len(took) * 0.99)], took[-1],
        sum(ms > MOST_MS for ms in took), after,
    )  # fmt: skip


def in_force(url: str) -> int:
    """Return the number of the snapshot that the services have in force."""
    found = re.search(r"^headwater_services_config_number\{.*\} (\d+)", get(f"{url}/metrics").decode(), re.MULTILINE)
    return int(found[1]) if found else 0


def measure() -> dict[str, Any]:
    contract = contract_to_spec(parse_contract((HERE / "contracts" / "events.yaml").read_text(), source="events.yaml"))
    key = Ed25519PrivateKey.generate()
    made = [make_snapshot(number, contract, changed) for number, changed in ((1, 0), (2, 1), (3, DATASETS))]
    snapshots = [SignedSnapshot.sign(one, key) for one in made]
    with tempfile.TemporaryDirectory(prefix="bench-snapshots-") as scratch:
        home = Home(Path(scratch))
        home.prepare()
        home.write_secret(home.snapshot_public_key, public_key_text(key).encode())
        home.write_secret(home.node_token, b"bench")
        SnapshotStore(home.snapshots).save(snapshots[0], made[0])
        control, port = Control(free_port(), snapshots), free_port()
        threading.Thread(target=control.serve_forever, daemon=True).start()
        command = [HEADWATER, "serve", "services", "--home", scratch, "--port", str(port)]
        env = {"HEADWATER_CONTROL__URL": f"http://127.0.0.1:{control.server_port}"}
        began = time.monotonic()
        with server(command, f"http://127.0.0.1:{port}/readyz", env=env) as _:
            url = f"http://127.0.0.1:{port}"
            while in_force(url) != 1:
                if time.monotonic() - began > START_SECONDS:
                    raise RuntimeError("the first snapshot did not come in force")
                time.sleep(0.1)
            started = round(time.monotonic() - began, 1)
            windows = {
                "no new snapshot": watch(url, control, None),
                "one dataset changed": watch(url, control, 1),
                "all datasets changed": watch(url, control, 2),
            }
        control.shutdown()
    return {
        "datasets": DATASETS, "megabytes": round(len(snapshots[0].payload) / 1e6, 1), "started_seconds": started,
        "windows": {name: asdict(window) for name, window in windows.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        replies = client(arguments.client, WINDOW_SECONDS)
        print(json.dumps([(round(reply.seconds * 1e3, 2), reply.is_good) for reply in replies]))
        return
    found = measure()
    shown = ("failed", "median_ms", "p99_ms", "most_ms", "over", "in_force_after_seconds")
    rows = [
        (name, f"{one['requests'] / WINDOW_SECONDS:,.0f}", *(one[item] for item in shown))
        for name, one in found["windows"].items()
    ]
    title = f"{DATASETS:,} datasets, {found['megabytes']} MB; ready {found['started_seconds']} s after the start"
    header = ("while", "requests/s", "failed", "median ms", "p99 ms", "most ms", f"> {MOST_MS} ms", "in force after s")
    print_table(title, header, rows)
    write_results("snapshots", found)


if __name__ == "__main__":
    main()
