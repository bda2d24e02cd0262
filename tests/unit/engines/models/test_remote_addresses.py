"""Whoever declares a model names the server; that must not make us ask the machines inside our own network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.builders.executors import spec_of
from tests.builders.frameworks import A, B
from tests.builders.onnx_models import linear
from tests.fakes.oip_server import OipServer, oip_server

from headwater.core.addresses import read_networks
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import InferenceSettings
from headwater.core.settings import load_settings
from headwater.core.snapshot import OutputSpec
from headwater.engines.models import open_executor
from headwater.engines.models.remote.addresses import judged
from headwater.engines.models.remote.executor import RemoteExecutor

INSIDE = [
    "127.0.0.1", "10.0.0.8", "172.16.3.4", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
    "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.8", "::ffff:127.0.0.1", "2002:a00:8::", "64:ff9b::a00:8",
]  # fmt: skip
HERE = InferenceSettings(remote_networks=("127.0.0.0/8",))


@pytest.fixture
def server() -> Iterator[OipServer]:
    with oip_server(linear([1, 10])) as running:
        yield running


def opened(url: str, settings: InferenceSettings, **options: Any) -> RemoteExecutor:
    given = {"url": url, "model": "delay", **options}
    spec = spec_of("remote", (A, B), (OutputSpec(name="score", type="number"),), options=given)
    executor = open_executor(spec, None, (A, B), settings=settings)
    assert isinstance(executor, RemoteExecutor)
    return executor


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused_also_among_public_ones(address: str) -> None:
    for found in ([address], ["93.184.216.34", address]):
        with pytest.raises(HeadwaterError, match="not a public address") as caught:
            judged("models.example", found, ())
        assert "inference.remote_networks" in str(caught.value.hint)


def test_public_addresses_and_networks_that_were_named_are_reached() -> None:
    assert judged("models.example", ["2606:2800:220:1::1", "93.184.216.34"], ()) == "93.184.216.34"
    named = read_networks(("10.1.0.0/16", "fd00::/8"))
    assert judged("models.internal", ["10.1.2.3", "fd00::1"], named) == "10.1.2.3"
    for other in ("10.2.0.1", "127.0.0.1", "169.254.169.254"):
        with pytest.raises(HeadwaterError):
            judged("models.internal", [other], named)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::ffff:127.0.0.1]"])
def test_this_machine_is_not_asked_however_it_is_written(server: OipServer, host: str) -> None:
    port = server.url.rpartition(":")[2]
    with pytest.raises(HeadwaterError) as caught:
        opened(f"http://{host}:{port}", InferenceSettings())
    assert caught.value.code == "model_unavailable"


async def test_a_name_that_changes_its_mind_leads_nowhere(server: OipServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was within the networks when the version was opened, and leads elsewhere when the next connection is made."""
    executor = opened(server.url, HERE)
    real = socket.getaddrinfo

    def moved(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        return real("169.254.169.254" if host in ("127.0.0.1", b"127.0.0.1") else host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", moved)
    with pytest.raises(HeadwaterError, match="leads to 169"):
        await executor.run_matrix(np.array([[1.0, 2.0]]))
    executor.close()


@pytest.mark.parametrize("variable", ["HEADWATER_DATABASE__URL", "headwater_home"])
def test_no_setting_of_ours_is_sent_to_another_server(
    server: OipServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "postgresql://user:password@db/headwater")
    with pytest.raises(HeadwaterError, match="a setting of Headwater"):
        opened(server.url, HERE, headers_from_env={"X-Told": variable})


def test_networks_are_set_as_a_list() -> None:
    settings = load_settings(environ={"HEADWATER_INFERENCE__REMOTE_NETWORKS": "10.1.0.0/16,127.0.0.0/8"})
    assert settings.inference.remote_networks == ("10.1.0.0/16", "127.0.0.0/8")
    with pytest.raises(HeadwaterError, match="network"):
        load_settings(environ={"HEADWATER_INFERENCE__REMOTE_NETWORKS": "models.internal"})
