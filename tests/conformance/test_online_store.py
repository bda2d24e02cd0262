"""What every online store promises."""

from __future__ import annotations

import asyncio
import time
from itertools import permutations

import pytest
import uvloop

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import OnlineSettings
from headwater.core.settings import Settings
from headwater.engines.online import open_online
from headwater.engines.online.protocol import HEAD_BYTES, Item, OnlineStore, put_head, read_head, space_of

SPACE = space_of("env/view/1")


def item(name: str, event: int, seq: int, body: bytes = b"x", *, expires: int | None = None) -> Item:
    return Item(SPACE + name.encode(), put_head(event, seq, body), expires)


def body_of(value: bytes | None) -> bytes | None:
    return None if value is None else value[HEAD_BYTES:]


async def test_values_come_back_in_the_order_of_their_keys_and_nothing_for_the_unknown(online: OnlineStore) -> None:
    online.write([item(str(n), 1, 1, str(n).encode()) for n in range(20)])
    keys = [SPACE + name for name in (b"7", b"unknown", b"3", b"7")]
    for found in (online.read(keys), await online.fetch(keys)):
        assert [body_of(value) for value in found] == [b"7", None, b"3", b"7"]


async def test_one_key_and_none_are_read_too(online: OnlineStore) -> None:
    online.write([item("a", 1, 1)])
    assert online.read([]) == await online.fetch([]) == []
    assert online.read([SPACE + b"a"]) == await online.fetch([SPACE + b"a"])
    assert online.read([SPACE + b"b"]) == await online.fetch([SPACE + b"b"]) == [None]


@pytest.mark.parametrize("body", [b"", b"\r\n", b"$-1\r\n*3\r\n", bytes(range(256)), b"z" * 200_000])
async def test_any_bytes_are_kept(online: OnlineStore, body: bytes) -> None:
    online.write([Item(SPACE + body[:300], put_head(5, 6, body))])
    assert [body_of(value) for value in await online.fetch([SPACE + body[:300]])] == [body]


def test_whatever_the_order_of_writes_the_newest_stays(online: OnlineStore) -> None:
    writes = [(10, 5), (10, 6), (-10, 9), (11, 1)]
    for number, order in enumerate(permutations(writes)):
        for event, seq in order:
            online.write([item(str(number), event, seq, f"{event}/{seq}".encode())])
    found = online.read([SPACE + str(number).encode() for number in range(24)])
    assert {body_of(value) for value in found} == {b"11/1"}


def test_a_replayed_write_changes_nothing(online: OnlineStore) -> None:
    online.write([item("a", 3, 3, b"first")])
    online.write([item("a", 3, 3, b"again")])
    assert body_of(online.read([SPACE + b"a"])[0]) == b"first"


def test_heads_keep_instants_before_1970_and_large_sequence_numbers() -> None:
    assert read_head(put_head(-62_135_596_800_000_000, (1 << 60) + 1, b"")) == (-62_135_596_800_000_000, (1 << 60) + 1)


def test_sequence_numbers_are_compared_exactly(online: OnlineStore) -> None:
    online.write([item("a", 1 << 52, (1 << 60) + 1, b"newer")])
    online.write([item("a", 1 << 52, 1 << 60, b"older")])
    assert body_of(online.read([SPACE + b"a"])[0]) == b"newer"
    online.write([item("a", 1 << 52, (1 << 60) + 2, b"newest")])
    assert body_of(online.read([SPACE + b"a"])[0]) == b"newest"


async def test_notes_are_replaced(online: OnlineStore) -> None:
    assert online.note("n") is None
    online.write([item("a", 1, 1)], {"n": b"1"})
    online.write([], {"n": b"2", "m": b"\x00"})
    assert (online.note("n"), await online.fetch_note("m"), await online.fetch_note("o")) == (b"2", b"\x00", None)


def test_many_items_are_written_in_one_call(online: OnlineStore) -> None:
    online.write([item(str(n), n, n, str(n).encode()) for n in range(1_234)], {"done": b"1"})
    keys = [SPACE + str(n).encode() for n in range(1_234)]
    assert [body_of(value) for value in online.read(keys)] == [str(n).encode() for n in range(1_234)]


def test_a_space_is_dropped_alone(online: OnlineStore) -> None:
    other = space_of("env/view/2")
    online.write([item(str(n), 1, 1) for n in range(30)])
    online.write([Item(other + b"a", put_head(1, 1, b"kept"))], {"n": b"1"})
    online.drop(SPACE)
    assert online.read([SPACE + str(n).encode() for n in range(30)]) == [None] * 30
    assert body_of(online.read([other + b"a"])[0]) == b"kept"
    assert online.note("n") == b"1"


def test_expired_items_leave(online: OnlineStore) -> None:
    now = time.time_ns() // 1_000
    soon = now + 30_000
    online.write(
        [item("gone", 1, 1, expires=soon), item("kept", 1, 1, expires=now + 3_600_000_000), item("ever", 1, 1)]
    )
    time.sleep(0.06)
    online.sweep(soon + 1)
    found = online.read([SPACE + name for name in (b"gone", b"kept", b"ever")])
    assert [value is not None for value in found] == [False, True, True]


def test_a_newer_value_lives_longer(online: OnlineStore) -> None:
    now = time.time_ns() // 1_000
    online.write([item("a", 1, 1, expires=now + 30_000)])
    online.write([item("a", 2, 2)])
    time.sleep(0.06)
    online.sweep(now + 60_000)
    assert online.read([SPACE + b"a"])[0] is not None


async def test_reads_at_the_same_time_do_not_mix(online: OnlineStore) -> None:
    online.write([item(str(n), 1, 1, str(n).encode() * (n + 1)) for n in range(200)])

    async def ask(n: int) -> None:
        found = await online.fetch([SPACE + str(m % 200).encode() for m in range(n, n + 7)])
        assert [body_of(value) for value in found] == [str(m % 200).encode() * (m % 200 + 1) for m in range(n, n + 7)]

    await asyncio.gather(*(ask(n) for n in range(200)))


async def test_a_reader_that_gave_up_does_not_shift_the_answers_of_others(online: OnlineStore) -> None:
    online.write([item(str(n), 1, 1, str(n).encode()) for n in range(3)])
    await online.fetch([SPACE + b"0"])
    task = asyncio.ensure_future(online.fetch([SPACE + b"1"]))
    await asyncio.sleep(0)
    task.cancel()
    assert body_of((await online.fetch([SPACE + b"2"]))[0]) == b"2"


def test_what_is_written_is_seen_by_another_handle(online: OnlineStore, online_settings: Settings) -> None:
    online.write([item("a", 1, 1, b"there")], {"n": b"1"})
    other = open_online(online_settings)
    try:
        assert body_of(other.read([SPACE + b"a"])[0]) == b"there"
        assert other.note("n") == b"1"
    finally:
        other.close()


def test_the_loop_that_serves_reads_as_any_other(online_settings: Settings) -> None:
    async def read() -> bytes | None:
        store = open_online(online_settings)
        store.write([item("a", 1, 1, b"there")])
        found = await store.fetch([SPACE + b"a"])
        store.close()
        await asyncio.sleep(0)
        return body_of(found[0])

    assert uvloop.run(read()) == b"there"


async def test_a_server_that_is_not_there_is_named(tmp_path: object) -> None:
    store = open_online(Settings(online=OnlineSettings(url=f"unix://{tmp_path}/none")))
    for attempt in (lambda: store.read([b"k"]), lambda: store.write([item("a", 1, 1)])):
        with pytest.raises(HeadwaterError) as caught:
            attempt()
        assert caught.value.code == "features_unavailable"
    with pytest.raises(HeadwaterError, match="does not answer"):
        await store.fetch([b"k"])
    store.close()


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(HeadwaterError, match="kind of store"):
        open_online(Settings(online=OnlineSettings(url="postgresql://there")))
