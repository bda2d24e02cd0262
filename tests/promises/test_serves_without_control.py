"""Promise: the data plane outlives the control plane, from the last good snapshot, for ever."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.builders.datasets import make_contract, make_dataset
from tests.builders.models import make_model, make_version
from tests.builders.processes import ServicesProcess, free_port, serving, wait_until
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl

from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.core.snapshot import EndpointSpec, KeySpec

HEADERS = {"authorization": f"Bearer {KEY}"}
NEW_KEY = "hw_testkey1_abcdefghijklmnopqrstuvwxyz234567"
ALLOWANCES = ("dataset.ingest:*", "dataset.read:*", "endpoint.invoke:*", "model.invoke:*")
COUNT = EndpointSpec(
    id="end_1", name="orders_count", revision=1, sql="SELECT count(*) AS orders FROM orders", tables=("orders",)
)


class Site:
    """A home with its control plane, which tests switch on and off."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(home=root)
        self.control = FakeControl()
        self.control.establish_trust(Home(root))
        self.port = free_port()

    def publish(self, number: int, keys: Mapping[str, KeySpec] | None = None) -> None:
        snapshot = make_snapshot(
            number,
            models=[make_model(make_version(self.settings))],
            datasets={"orders": make_dataset(make_contract())},
            endpoints={"orders_count": COUNT},
            keys=keys if keys is not None else {KEY: make_key(*ALLOWANCES)},
        )
        self.control.publish(snapshot)

    @contextlib.contextmanager
    def control_plane(self) -> Iterator[None]:
        self.control.is_down = False
        with serving(self.control.app, self.port):
            try:
                yield
            finally:
                self.control.is_down = True  # ends the long polls that are under way

    def services(self) -> ServicesProcess:
        return ServicesProcess(
            self.settings.home, control__url=f"http://127.0.0.1:{self.port}", control__port=self.port
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def verdicts(http: httpx.Client, tag: str) -> list[tuple[Any, ...]]:
    """Ask everything that must not depend on control; return what was answered, without ids."""
    good = http.post("/v1/datasets/orders/rows", json=[{"id": f"{tag}-1", "qty": 1}], headers=HEADERS)
    mixed = http.post("/v1/datasets/orders/rows", json=[{"id": f"{tag}-2"}, {"id": 3}], headers=HEADERS)
    asked = http.post("/v1/models/delay/predict", json={"rows": [{"a": 1, "b": 2}]}, headers=HEADERS)
    wrong = http.post("/v1/models/delay/predict", json={"rows": [{"a": "x"}]}, headers=HEADERS)
    counted = http.get("/v1/endpoints/orders_count", headers=HEADERS)
    return [
        (counted.status_code, counted.json()["data"]),
        (good.status_code, good.json()["counts"]),
        (mixed.status_code, mixed.json()["counts"]),
        (asked.status_code, [row["outputs"] for row in asked.json()["predictions"]]),
        (wrong.status_code, wrong.json()["code"]),
    ]


def config_version(http: httpx.Client) -> str | None:
    reply = http.post("/v1/models/delay/predict", content=b"{}", headers=HEADERS)
    return str(reply.headers["hw-config-version"]) if "hw-config-version" in reply.headers else None


def test_services_keep_their_verdicts_while_control_is_away_and_after_a_restart(site: Site) -> None:
    site.publish(1)
    with site.control_plane(), site.services() as services:
        services.wait_ready()
        expected = verdicts(services.http, "up")
        assert [status for status, _said in expected] == [200, 200, 207, 200, 422]
        assert services.stop()[0] == 0
    with site.services() as services:
        services.wait_ready()
        assert verdicts(services.http, "down") == expected
        ready = services.http.get("/readyz").json()
        assert ready["status"] == "degraded"
        assert ready["config_age_seconds"] > 0
        assert config_version(services.http) == "1"


def test_what_may_be_new_is_unavailable_rather_than_refused_while_control_is_away(site: Site) -> None:
    site.publish(1)
    with site.control_plane(), site.services() as services:
        services.wait_ready()
        wait_until(lambda: unknown(services.http) == [401, 404, 404, 404])
    with site.services() as services:
        services.wait_ready()
        assert unknown(services.http) == [503, 503, 503, 503]
        with site.control_plane():
            wait_until(lambda: unknown(services.http) == [401, 404, 404, 404])


def unknown(http: httpx.Client) -> list[int]:
    return [
        http.post("/v1/models/delay/predict", headers={"authorization": "Bearer hw_new"}).status_code,
        http.post("/v1/models/ghost/predict", headers=HEADERS).status_code,
        http.post("/v1/datasets/ghost/rows", json=[{}], headers=HEADERS).status_code,
        http.get("/v1/endpoints/ghost", headers=HEADERS).status_code,
    ]


def test_the_change_that_was_missed_is_in_force_soon_after_control_is_back(site: Site) -> None:
    site.publish(1)
    with site.services() as services:
        with site.control_plane():
            services.wait_ready()
            wait_until(lambda: config_version(services.http) == "1")
        site.publish(2, keys={NEW_KEY: make_key()})
        assert config_version(services.http) == "1"
        with site.control_plane():
            wait_until(lambda: services.http.post("/v1/models/delay/predict", headers=HEADERS).status_code == 401, 5)
            assert services.http.get("/readyz").json()["status"] == "ready"


def test_services_that_never_saw_control_say_so_and_serve_nothing(site: Site) -> None:
    with site.services() as services:
        wait_until(lambda: services.process.poll() is not None or _answers(services.http), 30)
        ready = services.http.get("/readyz")
        assert ready.status_code == 503
        assert "no configuration was loaded yet" in ready.json()["problems"][0]
        reply = services.http.post("/v1/models/delay/predict", headers=HEADERS)
        assert (reply.status_code, reply.json()["code"]) == (503, "config_unavailable")
        assert services.http.get("/livez").status_code == 200


def _answers(http: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return http.get("/livez").status_code == 200
    return False
