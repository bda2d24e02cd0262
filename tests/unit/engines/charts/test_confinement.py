"""What draws charts has given up what drawing does not need: it reaches no file of anybody's and no network."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.engines.charts.renderer import ChartFailed, ChartRenderer

TRIES = """
import socket, sys
from headwater.engines.charts.__main__ import confine
missing = confine()
if missing is not None:
    print("no landlock:", missing)
    sys.exit()
def tried(what, call):
    try:
        call()
    except OSError as error:
        print(what, type(error).__name__)
    else:
        print(what, "went")
tried("read", lambda: open(sys.argv[1]).read())
tried("write", lambda: open(sys.argv[1] + ".new", "w").write("x"))
tried("connect", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=2))
"""


def test_the_process_that_draws_reads_writes_and_connects_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", TRIES, str(secret), str(server.getsockname()[1])]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    if told.startswith("no landlock"):
        pytest.skip(told)
    assert told.splitlines() == ["read PermissionError", "write PermissionError", "connect PermissionError"]
    assert not (tmp_path / "secret.new").exists()


def test_it_draws_with_text_and_makes_the_browsers_script_all_the_same(tmp_path: Path) -> None:
    secret = tmp_path / "rows.csv"
    secret.write_text("a,b\nsecret-row,1\n")
    renderer = ChartRenderer()
    try:
        view = {"mark": "bar", "encoding": {"x": {"field": "a"}, "y": {"field": "b", "type": "quantitative"}}}
        drawn, stolen = renderer.draw(
            [{**view, "data": {"values": [{"a": "one", "b": 2}]}}, {**view, "data": {"url": secret.as_uri()}}]
        )
        assert isinstance(drawn, str)
        assert ">one<" in drawn
        assert isinstance(stolen, ChartFailed) or "secret-row" not in stolen
        assert renderer.rasterize(drawn).startswith(b"\x89PNG")
        script = renderer.script()
        assert "vegaEmbed" in script
        assert "//cdn" not in script
    finally:
        renderer.close()
