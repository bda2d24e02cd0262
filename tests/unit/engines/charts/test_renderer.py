"""Drawing in a process of its own: cached, killed when it hangs, gone when idle, and not missed when it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.engines.charts import renderer as module
from headwater.engines.charts.renderer import ChartFailed, ChartRenderer

# Answers like the real one, without a JavaScript engine: what to do is written in the specification.
STAND_IN = """
import os, socket, sys, time
from headwater.engines.charts.wire import receive, send
connection = socket.socket(fileno=os.dup(0))
while True:
    request = receive(connection)
    spec = request.get("spec", {})
    if spec.get("do") == "hang":
        time.sleep(60)
    if spec.get("do") == "die":
        os._exit(1)
    if spec.get("do") == "babble":
        connection.sendall(b"\\xff\\xff\\xff\\xff")
    with open(sys.argv[1], "a") as log:
        log.write(f"{os.getpid()}\\n")
    send(connection, {"error": "no"} if spec.get("do") == "refuse" else {"svg": f"<svg>{spec.get('n')}</svg>"})
"""
BAR = {
    "data": {"values": [{"x": "a", "y": 1}, {"x": "b", "y": 2}]},
    "mark": "bar",
    "encoding": {"x": {"field": "x", "type": "nominal"}, "y": {"field": "y", "type": "quantitative"}},
}


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[[], list[int]]:
    """Which process drew each image that was not cached."""
    return lambda: [int(line) for line in (tmp_path / "log").read_text().split()]


@pytest.fixture
def charts(tmp_path: Path) -> Iterator[ChartRenderer]:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    command = [sys.executable, "-P", str(script), str(tmp_path / "log")]
    renderer = ChartRenderer(timeout_seconds=2.0, batch_seconds=6.0, command=command)
    yield renderer
    renderer.close()


def texts(found: list[str | ChartFailed]) -> list[str]:
    return [str(one) for one in found]


def test_one_process_draws_and_what_was_drawn_is_not_drawn_again(
    charts: ChartRenderer, drawn: Callable[[], list[int]]
) -> None:
    assert charts.draw([{"n": 1}, {"n": 2}]) == ["<svg>1</svg>", "<svg>2</svg>"]
    assert charts.draw([{"n": 2}, {"n": 3}, {"n": 1}]) == ["<svg>2</svg>", "<svg>3</svg>", "<svg>1</svg>"]
    assert len(drawn()) == 3
    assert len(set(drawn())) == 1


def test_a_drawing_that_hangs_is_killed_and_keeps_none_of_the_others_waiting(
    charts: ChartRenderer, drawn: Callable[[], list[int]]
) -> None:
    began = time.monotonic()
    found = charts.draw([{"n": 1}, {"do": "hang"}, {"n": 2}])
    assert found[0] == "<svg>1</svg>"
    assert found[2] == "<svg>2</svg>"
    assert isinstance(found[1], ChartFailed)
    assert time.monotonic() - began < 5
    first, second = drawn()
    assert first != second
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    began = time.monotonic()
    assert "a moment ago" in str(charts.draw([{"do": "hang"}])[0])
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("ill", ["die", "babble"])
def test_a_process_that_dies_or_babbles_fails_its_drawing_alone(charts: ChartRenderer, ill: str) -> None:
    found = charts.draw([{"do": ill}, {"n": 1}])
    assert isinstance(found[0], ChartFailed)
    assert found[1] == "<svg>1</svg>"


def test_a_process_that_ended_meanwhile_is_replaced_unnoticed(
    charts: ChartRenderer, drawn: Callable[[], list[int]]
) -> None:
    charts.draw([{"n": 1}])
    os.kill(drawn()[0], signal.SIGKILL)
    assert charts.draw([{"n": 2}]) == ["<svg>2</svg>"]


def test_what_the_engine_refuses_is_said_and_not_remembered(charts: ChartRenderer) -> None:
    assert texts(charts.draw([{"do": "refuse"}, {"n": 1}])) == ["no", "<svg>1</svg>"]


def test_a_command_that_cannot_be_started_fails_the_drawing_alone() -> None:
    renderer = ChartRenderer(command=["/nonexistent/program"])
    assert isinstance(renderer.draw([{"n": 1}])[0], ChartFailed)


def test_the_cache_is_bounded(
    charts: ChartRenderer, drawn: Callable[[], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHE_BYTES", 30)
    for n in (1, 2, 3, 1):
        charts.draw([{"n": n}])
    assert len(drawn()) == 4


@pytest.fixture(scope="module")
def real() -> Iterator[ChartRenderer]:
    renderer = ChartRenderer(timeout_seconds=60.0, batch_seconds=90.0)
    yield renderer
    renderer.close()


def test_vega_lite_is_drawn_and_turned_into_pixels(real: ChartRenderer) -> None:
    (svg,) = real.draw([BAR])
    assert isinstance(svg, str)
    assert svg.startswith("<svg ")
    assert real.rasterize(svg).startswith(b"\x89PNG\r\n")
    assert "vl_convert" not in sys.modules


def test_data_from_elsewhere_is_refused(real: ChartRenderer) -> None:
    (found,) = real.draw([BAR | {"data": {"url": "http://127.0.0.1:1/data.json"}}])
    assert "not allowed" in str(found)


def test_an_image_that_makes_no_sense_says_so(real: ChartRenderer) -> None:
    (found,) = real.draw([{"mark": "nonsense"}])
    assert isinstance(found, ChartFailed)
    with pytest.raises(ChartFailed):
        real.rasterize("no svg")


def run_child(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-P", "-m", "headwater.engines.charts", *arguments], **options)


def test_the_process_ends_when_nobody_asks_and_when_its_parent_is_gone() -> None:
    import socket

    mine, theirs = socket.socketpair()
    idle = run_child("0.1", "5", stdin=theirs.fileno())
    assert idle.wait(timeout=30) == 0
    orphan = run_child("60", "5", stdin=theirs.fileno())
    theirs.close()
    mine.close()
    assert orphan.wait(timeout=30) == 0


def test_the_kernel_ends_a_drawing_that_takes_too_long() -> None:
    # A process of its own, so that the alarm is tried on what really hangs: a loop that never looks up.
    code = (
        "from headwater.engines.charts import __main__ as child\n"
        "child._answer = lambda request: exec('while True: pass')\n"
        "child.main(60.0, 1)\n"
    )
    import socket

    from headwater.engines.charts.wire import send

    mine, theirs = socket.socketpair()
    process = subprocess.Popen([sys.executable, "-P", "-c", code], stdin=theirs.fileno())
    theirs.close()
    send(mine, {"spec": {}})
    assert process.wait(timeout=30) == -signal.SIGALRM
    mine.close()
