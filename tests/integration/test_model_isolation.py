"""Models that raise, hang, leak, crash or pry: each is told apart, and the service and the others go on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
from tests.builders.misbehaving import Logged, obedient, tell

from headwater.core.errors import HeadwaterError
from headwater.engines.models.isolated import executor as executor_module
from headwater.engines.models.isolated import printed
from headwater.engines.models.isolated.executor import IsolatedExecutor
from headwater.engines.models.isolated.nursery import NURSERIES

pytestmark = pytest.mark.alone
SMALL: dict[str, Any] = {"memory_bytes": 128 << 20}


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Logged:
    entries: list[Any] = []

    def keep(_logger: Any, _method: str, event: Any) -> Any:
        entries.append(event)
        raise structlog.DropEvent

    for module in (executor_module, printed):
        monkeypatch.setattr(module, "_log", structlog.wrap_logger(None, processors=[keep]))
    return Logged(entries)


async def _refusal(executor: IsolatedExecutor, *orders: str) -> HeadwaterError:
    with pytest.raises(HeadwaterError) as refused:
        await tell(executor, *orders)
    return refused.value


async def _until(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_killed_worker_is_back_within_a_second_and_what_it_ran_is_tried_once_more(tmp_path: Path) -> None:
    with obedient(tmp_path) as executor:
        [before] = await tell(executor, "pid")
        under_way = asyncio.create_task(tell(executor, "sleep 0.4"))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        os.kill(int(before), signal.SIGKILL)
        assert await under_way == ["sleep 0.4"]
        assert time.monotonic() - began < 1.4
        [after] = await tell(executor, "pid")
        assert after != before
        assert executor.fault is None


async def test_a_model_that_raises_says_what_and_the_log_has_the_traceback(tmp_path: Path, logged: Logged) -> None:
    with obedient(tmp_path) as executor:
        error = await _refusal(executor, "raise no such airport")
        assert (error.code, error.detail) == ("model_failed", "the model raised ValueError: no such airport")
        assert await tell(executor, "still here") == ["still here"]
        await _until(lambda: any("Traceback" in entry["line"] for entry in logged.lines("model_printed")))
        assert {entry["model"] for entry in logged.lines("model_printed")} == {"delay"}


async def test_only_the_culprit_of_several_runs_fails(tmp_path: Path) -> None:
    with obedient(tmp_path) as executor:
        asked = ["a", "raise b", "c", "exit", "e"]
        found = await asyncio.gather(
            tell(executor, "sleep 0.1"), *(tell(executor, order) for order in asked), return_exceptions=True
        )
        assert [item.code if isinstance(item, HeadwaterError) else item for item in found[1:]] == [
            ["a"],
            "model_failed",
            ["c"],
            "model_failed",
            ["e"],
        ]
        assert "SystemExit: 3" in str(found[4])


@pytest.mark.parametrize("order", ["die", "crash"])
async def test_rows_that_end_the_process_are_found_and_the_others_answered(
    tmp_path: Path, order: str, logged: Logged
) -> None:
    with obedient(tmp_path) as executor:
        waiting = [asyncio.create_task(tell(executor, text)) for text in ("sleep 0.2", "one", order, "two")]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert found[0] == ["sleep 0.2"]
        assert (found[1], found[3]) == (["one"], ["two"])
        assert isinstance(found[2], HeadwaterError)
        assert (found[2].code, found[2].detail) == ("model_failed", "the model's process ended on these rows, twice")
        ended = {"die": "SIGKILL", "crash": "SIGSEGV"}[order]
        assert ended in logged.lines("model_worker_ended")[0]["how"]
        assert await tell(executor, "after") == ["after"]


async def test_a_model_that_hangs_is_stopped_and_the_next_run_answered(tmp_path: Path) -> None:
    with obedient(tmp_path, timeout_seconds=0.5) as executor:
        began = time.monotonic()
        hanging = asyncio.create_task(tell(executor, "sleep 60"))
        await asyncio.sleep(0.05)
        behind = asyncio.create_task(tell(executor, "behind"))
        with pytest.raises(HeadwaterError) as refused:
            await hanging
        assert refused.value.code == "model_timeout"
        assert await behind == ["behind"]
        assert time.monotonic() - began < 3


async def test_a_model_that_leaks_is_ended_and_told(tmp_path: Path, logged: Logged) -> None:
    with obedient(tmp_path, **SMALL) as executor:
        own = psutil.Process().memory_info().rss
        error = await _refusal(executor, "leak")
        assert error.code == "model_failed"
        assert "needed more than the 128 MB" in error.detail
        assert "memory_mb" in str(error.hint)
        assert await tell(executor, "after") == ["after"]
        assert logged.lines("model_outgrew_its_memory")
        assert psutil.Process().memory_info().rss - own < 64 << 20


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        ("answer WIDE", "its output 'said' is 1 by 2 for 1 row and the signature says 1"),
        ("answer NUMBER", "has values that are no text"),
        ("answer LIST", "it gave a list and not a mapping"),
    ],
)
async def test_an_answer_that_is_not_as_signed_is_told(tmp_path: Path, order: str, complaint: str) -> None:
    with obedient(tmp_path) as executor:
        error = await _refusal(executor, order)
        assert error.code == "model_failed"
        assert complaint in error.detail
        assert await tell(executor, "after") == ["after"]


async def test_what_a_model_prints_is_logged_with_its_name_but_never_floods(tmp_path: Path, logged: Logged) -> None:
    with obedient(tmp_path) as executor:
        await tell(executor, "print hello from inside")
        await _until(lambda: logged.lines("model_printed"))
        [entry] = logged.lines("model_printed")
        assert (entry["line"], entry["model"], entry["version"]) == ("hello from inside", "delay", 1)
        await tell(executor, "flood 20000")
        await asyncio.sleep(1.1)
        await tell(executor, "print the end")
        await _until(lambda: logged.lines("model_printed_too_much"))
        assert len(logged.lines("model_printed")) < 20 * printed.MAX_LINES_A_SECOND


async def test_a_model_sees_neither_secrets_nor_descriptors_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_DATABASE__URL", "postgresql://secret")
    with socket.socket() as listening, (tmp_path / "held").open("w") as _held:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with obedient(tmp_path) as executor:
            [names] = await tell(executor, "environment")
            assert "HEADWATER" not in names
            [descriptors] = await tell(executor, "descriptors")
            kinds = sorted(name.partition(":")[0] for name in descriptors.split())
            assert kinds == ["/dev/null", "pipe", "pipe", "socket"]
            if executor.ready.confinement_gap:
                pytest.skip(executor.ready.confinement_gap)
            (tmp_path / "secret.key").write_text("k")
            asked = [
                f"read {tmp_path}/secret.key",
                f"read /proc/{os.getpid()}/environ",
                f"write {tmp_path}/out",
                "write here",
                "read here",
                f"connect {listening.getsockname()[1]}",
                "run /bin/true",
            ]
            assert await tell(executor, *asked) == [
                "PermissionError",
                "PermissionError",
                "PermissionError",
                "done: 1",
                "done: x",
                "PermissionError",
                "PermissionError",
            ]


async def test_a_model_that_asks_for_it_may_use_the_network(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with obedient(tmp_path, options={"network": True}) as executor:
            [said] = await tell(executor, f"connect {listening.getsockname()[1]}")
            assert said.startswith("done")


async def test_a_model_that_keeps_dying_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "_FIRST_DELAY_SECONDS", 1.0)
    with obedient(tmp_path) as executor:
        for _ in range(executor_module.FREE_RESTARTS + 1):
            [process] = await tell(executor, "pid")
            os.kill(int(process), signal.SIGKILL)
            await _until(lambda gone=process: str(executor.process) != gone)
            await _until(lambda: executor.process is not None or executor.fault)
        assert executor.fault
        error = await _refusal(executor, "x")
        assert (error.code, error.retry_after_seconds) == ("model_unavailable", 1)
        await _until(lambda: executor.fault is None)
        assert await tell(executor, "back") == ["back"]


async def test_a_worker_that_stands_still_is_found_without_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor_module, "PROBE_SECONDS", 0.2)
    with obedient(tmp_path, timeout_seconds=0.4) as executor:
        [process] = await tell(executor, "pid")
        await asyncio.sleep(0.5)
        assert str(executor.process) == process  # it answers when it is probed
        os.kill(int(process), signal.SIGSTOP)
        await _until(lambda: executor.process not in (None, int(process)))
        assert await tell(executor, "another") == ["another"]


async def test_a_nursery_that_dies_is_replaced_with_its_workers(tmp_path: Path) -> None:
    with obedient(tmp_path) as executor:
        await tell(executor, "x")
        os.kill(NURSERIES._running["python"].pid, signal.SIGKILL)
        assert await tell(executor, "y") == ["y"]


async def test_what_a_model_started_ends_with_it(tmp_path: Path) -> None:
    with obedient(tmp_path) as executor:
        [grandchild] = await tell(executor, "fork")
        assert psutil.pid_exists(int(grandchild))
    await _until(lambda: not psutil.pid_exists(int(grandchild)))


async def test_nothing_is_left_when_the_last_is_closed(tmp_path: Path) -> None:
    with obedient(tmp_path) as executor:
        [process] = await tell(executor, "pid")
        nursery = NURSERIES._running["python"].pid
    await _until(lambda: not psutil.pid_exists(int(process)) and not psutil.pid_exists(nursery))


SERVICE = """
import asyncio, sys
from pathlib import Path
from tests.builders.misbehaving import open_obedient, tell
from headwater.engines.models.isolated.nursery import NURSERIES

async def main():
    executor = open_obedient(Path(sys.argv[1]))
    [process] = await tell(executor, "pid")
    print(process, NURSERIES._running["python"].pid, flush=True)
    await tell(executor, "sleep 600")

asyncio.run(main())
"""


def test_no_process_outlives_the_service(tmp_path: Path) -> None:
    service = subprocess.Popen([sys.executable, "-c", SERVICE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert service.stdout is not None
    with service.stdout:
        processes: list[str] = []
        while len(processes) != 2 or not all(part.isdigit() for part in processes):
            processes = service.stdout.readline().split()
        service.kill()
        service.wait()
    deadline = time.monotonic() + 5
    while any(psutil.pid_exists(int(process)) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.02)
