"""The 14-field payment event of the ingest benchmarks: as its users model it, and a deterministic generator.

The contract is ``contracts/events.yaml``. ``lines`` makes clean rows, rows with one defect of six kinds, and rows with
a field that the contract does not know.
"""

from __future__ import annotations

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

CONTRACT = Path(__file__).parent / "contracts" / "events.yaml"
UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
CURRENCIES = (
    "USD",
    "EUR",
    "GBP",
    "JPY",
    "CHF",
    "CAD",
    "AUD",
    "NZD",
    "SEK",
    "NOK",
    "DKK",
    "PLN",
    "CZK",
    "HUF",
    "RON",
    "BGN",
    "TRY",
    "ZAR",
    "BRL",
    "MXN",
)
STATUSES = ("created", "authorized", "captured", "refunded", "failed")
COUNTRIES = [
    "US",
    "GB",
    "DE",
    "FR",
    "ES",
    "IT",
    "NL",
    "SE",
    "NO",
    "DK",
    "PL",
    "CZ",
    "HU",
    "RO",
    "BG",
    "TR",
    "ZA",
    "BR",
    "MX",
    "JP",
]
TAGS = [
    "new",
    "vip",
    "promo",
    "mobile",
    "web",
    "ios",
    "android",
    "beta",
    "eu",
    "fraud-check",
    "retry",
    "gift",
    "b2b",
    "seasonal",
    "étranger",
    "東京",
]
NOTES = (
    "Customer called about delivery",
    "gift wrap please",
    'leave at the door "code 12"',
    "zażółć gęślą jaźń",
    "priority order, ship today",
    "—",
)
OFFSETS = ("Z", "Z", "+00:00", "+02:00", "-05:00", "+05:30")
START = datetime(2026, 1, 1, tzinfo=UTC)
SEED = 20261122


class PydanticUser(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: Annotated[int, Field(ge=1)]
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    age: Annotated[int, Field(ge=0, le=150)] | None = None


class PydanticEvent(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, StringConstraints(pattern=UUID_PATTERN)]
    tenant: Annotated[str, Field(min_length=1, max_length=64)]
    ts: AwareDatetime
    amount: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    currency: Literal[CURRENCIES]  # type: ignore[valid-type]
    status: Literal[STATUSES]  # type: ignore[valid-type]
    qty: Annotated[int, Field(ge=0, le=2**63 - 1)]
    user: PydanticUser
    tags: Annotated[list[str], Field(max_length=10)]
    ip: Annotated[str, Field(max_length=45)]
    score: Annotated[float, Field(ge=0, le=1)]
    is_test: bool
    note: Annotated[str, Field(max_length=200)] | None = None
    metadata: dict[str, Any]


class MsgspecUser(Struct, forbid_unknown_fields=True):
    id: Annotated[int, Meta(ge=1)]
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
    age: Annotated[int, Meta(ge=0, le=150)] | None = None


class MsgspecEvent(Struct, forbid_unknown_fields=True, kw_only=True):
    id: Annotated[str, Meta(pattern=UUID_PATTERN)]
    tenant: Annotated[str, Meta(min_length=1, max_length=64)]
    ts: Annotated[datetime, Meta(tz=True)]
    amount: Annotated[float, Meta(ge=0)]
    currency: Literal[CURRENCIES]  # type: ignore[valid-type]
    status: Literal[STATUSES]  # type: ignore[valid-type]
    qty: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    user: MsgspecUser
    tags: Annotated[list[str], Meta(max_length=10)]
    ip: Annotated[str, Meta(max_length=45)]
    score: Annotated[float, Meta(ge=0, le=1)]
    is_test: bool
    note: Annotated[str, Meta(max_length=200)] | None = None
    metadata: dict[str, Any]


class Generator:
    """Makes events; two generators with one seed make the same."""

    def __init__(self, seed: int = SEED) -> None:
        self._random = random.Random(seed)
        self._count = 0

    def event(self) -> dict[str, Any]:
        pick, number = self._random, self._count
        self._count += 1
        user: dict[str, Any] = {"id": pick.randrange(1, 10_000_000), "country": pick.choice(COUNTRIES)}
        if pick.random() < 0.7:
            user["age"] = pick.randrange(16, 95)
        event: dict[str, Any] = {
            "id": str(uuid.UUID(int=pick.getrandbits(128), version=4)),
            "tenant": f"tenant-{pick.randrange(50):03d}",
            "ts": self._timestamp(number),
            "amount": round(pick.uniform(0, 5000), 2),
            "currency": pick.choice(CURRENCIES),
            "status": pick.choice(STATUSES),
            "qty": pick.randrange(0, 1000),
            "user": user,
            "tags": pick.sample(TAGS, pick.randrange(0, 5)),
            "ip": ".".join(str(pick.randrange(1, 255)) for _ in range(4)),
            "score": round(pick.random(), 6),
            "is_test": pick.random() < 0.05,
        }
        if pick.random() < 0.3:
            event["note"] = pick.choice(NOTES)
        experiment = {"exp": f"e{pick.randrange(40)}", "w": round(pick.random(), 3)}
        source = pick.choice(["api", "batch", "pos"])
        event["metadata"] = {"source": source, "ver": pick.randrange(1, 9), "ab": experiment}
        return event

    def _timestamp(self, number: int) -> str:
        instant = START + timedelta(seconds=number * 7, microseconds=self._random.randrange(1_000_000))
        offset = self._random.choice(OFFSETS)
        if offset == "Z":
            return instant.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:6])) * (1 if offset[0] == "+" else -1)
        return (instant + shift).strftime("%Y-%m-%dT%H:%M:%S.%f") + offset

    def spoil(self, event: dict[str, Any], kind: int) -> None:
        pick = self._random
        match kind % 6:
            case 0:
                del event[pick.choice(["id", "tenant", "ts", "amount", "user", "score"])]
            case 1:
                wrong = {"amount": "12.5", "qty": "7", "is_test": "yes", "tags": "new", "user": 7}
                name = pick.choice(list(wrong))
                event[name] = wrong[name]
            case 2 if pick.random() < 0.25:
                event["user"]["age"] = 200
            case 2:
                name, value = pick.choice([("amount", -1.5), ("score", 1.01), ("qty", -3)])
                event[name] = value
            case 3:
                event[pick.choice(["currency", "status"])] = "XXX"
            case 4:
                wrong_times = ["2026-13-01T00:00:00Z", "yesterday", "2026-02-30T10:00:00Z", "2026-01-01T10:00:00"]
                event["ts"] = pick.choice(wrong_times)
            case _:
                event["surprise"] = 1

    def lines(self, count: int, *, bad_share: float = 0.0, extra_share: float = 0.0) -> list[bytes]:
        """Return events as compact JSON; shares of them have a defect, or an unknown field."""
        made: list[bytes] = []
        spoiled = 0
        for _ in range(count):
            event = self.event()
            if self._random.random() < bad_share:
                self.spoil(event, spoiled)
                spoiled += 1
            elif self._random.random() < extra_share:
                event["campaign"] = {"name": "spring", "medium": "mail"}
            made.append(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode())
        return made
