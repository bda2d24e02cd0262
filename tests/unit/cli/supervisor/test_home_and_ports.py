"""A home has one supervisor, and ports are claimed before anything starts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.cli.supervisor.ports import claim_port
from headwater.cli.supervisor.state import hold_home
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.prepare()
    return home


def claim(port: int, host: str = "127.0.0.1") -> int:
    return claim_port(host, port, flag="--control-port", variable="HEADWATER_CONTROL__PORT")


def test_a_second_holder_is_told_who_the_first_is(home: Home) -> None:
    with hold_home(home), pytest.raises(HeadwaterError) as caught, hold_home(home):
        pass
    assert caught.value.code == "home_in_use"
    assert f"pid {os.getpid()}" in caught.value.detail

    with hold_home(home):
        pass


def test_a_killed_holder_leaves_the_home_free(home: Home) -> None:
    code = (
        "import os, sys, pathlib\n"
        "from headwater.cli.supervisor.state import hold_home\n"
        "from headwater.core.home import Home\n"
        "with hold_home(Home(pathlib.Path(sys.argv[1]))):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(home.root)], check=False).returncode == -9

    with hold_home(home):
        pass


def test_a_taken_port_is_named_with_its_holder_and_the_cure() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(HeadwaterError) as caught:
            claim(port)

    assert caught.value.code == "port_taken"
    assert f"port {port}" in caught.value.detail
    assert "--control-port" in str(caught.value.hint)
    if sys.platform == "linux":
        assert f"pid {os.getpid()}" in caught.value.detail
    assert claim(port) == port


def test_port_0_becomes_a_free_port() -> None:
    assert claim(0) > 1024


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(HeadwaterError, match=r"cannot listen on 192\.0\.2\.1"):
        claim(0, "192.0.2.1")
