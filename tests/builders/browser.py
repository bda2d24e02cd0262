"""A real control process with the flights example, and a real Chromium that notes everything it should not see."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

ROOT = Path(__file__).parents[2]
SCREENSHOTS = ROOT / "tests" / "screenshots"
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (apt-get install chromium)")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
SEED_AND_SERVE = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from headwater.core.settings import load_settings
from headwater.control import bootstrap, server
settings = load_settings(file=Path("/nonexistent"))
first = bootstrap.bootstrap(settings)
from headwater.control.access.queries import get_environment
from headwater.control.catalog.apply import apply_project
from headwater.control.catalog.payload import ResourceFile, Resources
from headwater.control.identity.actions import create_user
from headwater.control.kit.actions import SYSTEM
from headwater.control.snapshots.models import SnapshotAck
environment = get_environment(first.organization, first.project, first.environment)
root = Path(sys.argv[1])
def files(folder, pattern):
    return tuple(
        ResourceFile(source=f"{folder}/{path.name}", text=path.read_text())
        for path in sorted((root / folder).glob(pattern))
    )
apply_project(
    actor=SYSTEM,
    environment=environment,
    resources=Resources(datasets=files("datasets", "*.yaml"), endpoints=files("endpoints", "*.sql")),
)
number = environment.snapshots.order_by("-number").first().number
SnapshotAck.objects.create(node="node-1", environment=environment, number=number, applied_at=datetime.now(UTC))
create_user(actor=SYSTEM, email="person@example.com", password="correct horse battery")
print(json.dumps({"email": first.admin_email, "password": first.admin_password}), flush=True)
server.serve(settings)
"""


@dataclass(frozen=True)
class Control:
    """A running control process and who may sign in to it."""

    url: str
    email: str
    password: str


@dataclass
class Visit:
    """A page in a browser of its own, with what went wrong in it."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a path of the control process and wait until it has settled."""
        self.page.goto(self.origin + path, wait_until="networkidle")
        return self.page

    def shoot(self, name: str) -> None:
        """Keep a picture of the whole page, for people to look at."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def watch(self) -> None:
        """Note console errors, scripts that fail, refused resources and requests to anywhere else."""

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(f"console {message.type}: {message.text} at {message.location.get('url', '')}")

        def on_request(request: Request) -> None:
            if not request.url.startswith((self.origin, "data:", "blob:")):
                self.complaints.append(f"external request: {request.url}")

        self.page.on("console", on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script error: {error}"))
        self.page.on("request", on_request)
        self.page.on(
            "requestfailed",
            lambda request: self.complaints.append(f"failed: {request.url} {request.failure}"),
        )


@contextmanager
def running_control(
    home: Path, services_url: str, *, seed: str = SEED_AND_SERVE, argument: str = "", **settings: str
) -> Iterator[Control]:
    """Run a control process on a free port until the block ends.

    Args:
        home: its home.
        services_url: where it looks for the services.
        seed: the program: it makes what is there beforehand, prints who may sign in, and serves.
        argument: what the program is given; default: the flights example.
        settings: further settings by variable, without the prefix.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "DJANGO_"))}
    environment |= {
        "HEADWATER_HOME": str(home),
        "HEADWATER_CONTROL__PORT": str(port),
        "HEADWATER_SERVICES__URL": services_url,
        "PYTHONPATH": str(ROOT / "src"),
        **{f"HEADWATER_{name}": value for name, value in settings.items()},
    }
    log = (home.parent / "control.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-c", seed, argument or str(ROOT / "examples" / "flights")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=home.parent,
    )
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith("{")), None)
        assert line, (home.parent / "control.log").read_text()
        made: dict[str, Any] = json.loads(line)
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process)
        yield Control(url, made["email"], made["password"])
    finally:
        process.terminate()
        process.communicate(timeout=30)
        log.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the system's Chromium until the block ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(browser: Browser, origin: str, **options: Any) -> Iterator[Visit]:
    """Open a fresh browser profile on ``origin``."""
    size = options.pop("viewport", {"width": 1440, "height": 900})
    context: BrowserContext = browser.new_context(viewport=size, locale="en-GB", **options)
    try:
        visit = Visit(context.new_page(), origin)
        visit.watch()
        yield visit
    finally:
        context.close()


def _wait_until_ready(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the control process ended"
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("the control process never became ready")
