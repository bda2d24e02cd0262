from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.builders.snapshots import KEY, make_key, make_snapshot

from headwater.core.clock import FrozenClock
from headwater.core.errors import HeadwaterError
from headwater.services.kit.key_uses import KeyUses
from headwater.services.kit.keys import KeyTable
from headwater.services.kit.service import Contact, Environment

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def table(*environments: Environment, clock: FrozenClock | None = None) -> KeyTable:
    return KeyTable(environments or (Environment(make_snapshot()),), clock or FrozenClock(NOW))


def bearer(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"authorization", text.encode())]


def test_a_key_names_its_environment() -> None:
    other = Environment(make_snapshot(environment="env_2", keys={"hw_other": make_key(key_id="key_2")}))
    keys = table(Environment(make_snapshot()), other)
    assert keys.authenticate(bearer(f"Bearer {KEY}")).environment.id == "env_1"
    assert keys.authenticate(bearer("bearer hw_other")).environment.id == "env_2"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        bearer(""),
        bearer("Bearer"),
        bearer("Bearer "),
        bearer(f"Basic {KEY}"),
        bearer(KEY),
        bearer(f"Bearer {KEY}x"),
        bearer(f"Bearer {KEY.upper()}"),
        bearer("Bearer " + "x" * 5_000),
        bearer(f"Bearer {KEY}") * 2,
    ],
)
def test_anything_but_one_known_key_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(HeadwaterError) as refused:
        table().authenticate(headers)
    assert refused.value.code == "unauthenticated"
    assert KEY not in str(refused.value)


def test_a_key_ends_at_the_instant_it_expires() -> None:
    clock = FrozenClock(NOW)
    keys = table(Environment(make_snapshot(keys={KEY: make_key(expires_at=NOW + timedelta(seconds=1))})), clock=clock)
    keys.authenticate(bearer(f"Bearer {KEY}"))
    clock.advance(timedelta(seconds=1))
    with pytest.raises(HeadwaterError, match="has expired"):
        keys.authenticate(bearer(f"Bearer {KEY}"))


def test_an_unknown_key_may_be_new_while_control_is_away() -> None:
    away = Environment(make_snapshot(), contact=Contact(confirmed=False))
    with pytest.raises(HeadwaterError) as refused:
        table(away).authenticate(bearer("Bearer hw_unknown"))
    assert refused.value.code == "config_unavailable"
    table(away).authenticate(bearer(f"Bearer {KEY}"))


def test_a_key_that_was_used_before_expires_all_the_same() -> None:
    clock = FrozenClock(NOW)
    keys = {KEY: make_key(expires_at=NOW + timedelta(minutes=1)), "hw_other": make_key(key_id="key_2")}
    known = table(Environment(make_snapshot(keys=keys)), clock=clock)
    first = known.authenticate(bearer(f"Bearer {KEY}"))
    assert known.authenticate(bearer(f"Bearer {KEY}")) is first
    assert known.authenticate(bearer("Bearer hw_other")) is not first
    clock.advance(timedelta(minutes=2))
    with pytest.raises(HeadwaterError, match="expired"):
        known.authenticate(bearer(f"Bearer {KEY}"))


@pytest.mark.parametrize("expires_at", [None, NOW + timedelta(days=1)])
def test_each_use_is_noted_whether_the_key_ends_one_day_or_never(expires_at: datetime | None) -> None:
    clock = FrozenClock(NOW)
    known = table(Environment(make_snapshot(keys={KEY: make_key(expires_at=expires_at)})), clock=clock)
    for _ in range(2):
        clock.advance(timedelta(seconds=5))
        assert known.authenticate(bearer(f"Bearer {KEY}")).use.at == clock.now().timestamp()


def test_a_key_in_the_wrong_place_is_not_used() -> None:
    uses = KeyUses()
    key = make_key().model_copy(update={"cidrs": ("10.0.0.0/8",)})
    environment = Environment(make_snapshot(keys={KEY: key}))
    known = KeyTable([environment], FrozenClock(NOW), uses=uses)
    with pytest.raises(HeadwaterError, match="may not be used from 192"):
        known.authenticate(bearer(f"Bearer {KEY}"), "192.168.0.1")
    assert not uses.untold()
    known.authenticate(bearer(f"Bearer {KEY}"), "10.1.2.3")
    assert len(uses.untold()) == 1
