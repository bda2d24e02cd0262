"""A services process with the query service, a real lake in a temporary home, and a snapshot of flights."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.process import alive, until

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.core.setting_sections import CacheSettings, QuerySettings
from headwater.core.settings import Settings
from headwater.core.snapshot import DatasetSpec, EndpointSpec, KeySpec
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction, TableStore
from headwater.engines.query.endpoint_file import parse_endpoint
from headwater.services.kit.application import compose
from headwater.services.kit.asgi import Door
from headwater.services.kit.runtime import ProcessRuntime
from headwater.services.query import create
from headwater.services.query.service import QueryService

ENVIRONMENT = "env_1"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
FLIGHTS = Contract(
    "flights",
    "1.0",
    (
        Field("id", LogicalType.INTEGER),
        Field("carrier", LogicalType.STRING),
        Field("delay", LogicalType.NUMBER, nullable=True),
        Field("at", LogicalType.TIMESTAMP),
        Field("fare", LogicalType.DECIMAL, precision=12, scale=2, nullable=True),
    ),
)
SECRETS = Contract("secrets", "1.0", (Field("name", LogicalType.STRING),), protected=True)
BY_CARRIER = """/*
description: Flights of each carrier
parameters:
  carrier: {type: string, max_length: 20}
  above: {type: number, default: -1000}
*/
SELECT carrier, count(*) AS flights, avg(delay) AS delay FROM flights
WHERE ($carrier IS NULL OR carrier = $carrier) AND (delay IS NULL OR delay > $above)
GROUP BY carrier ORDER BY carrier
"""


def endpoint(name: str, text: str, **more: Any) -> EndpointSpec:
    file = parse_endpoint(text if text.startswith("/*") else f"/* */ {text}", source=f"endpoints/{name}.sql")
    return EndpointSpec(id=f"end_{name}", revision=1, **(file.to_spec() | more))


def dataset(contract: Contract) -> DatasetSpec:
    return DatasetSpec(
        id=f"dst_{contract.name}",
        name=contract.name,
        active_version=contract.version,
        contracts={contract.version: contract_to_spec(contract)},
        protected=contract.protected,
    )


def flights(first: int, rows: int) -> pa.Table:
    """Return sealed flights: carriers AA, BB and CC in turn, every fifth without delay."""
    numbers = range(first, first + rows)
    micros = pa.array([1_700_000_000_000_000 + number for number in numbers], pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "carrier": pa.array([("AA", "BB", "CC")[number % 3] for number in numbers]),
            "delay": pa.array([None if number % 5 == 0 else number / 2 for number in numbers], pa.float64()),
            "at": micros,
            "fare": pa.array([f"{number}.25" for number in numbers]).cast(pa.decimal128(12, 2)),
            "_extra": pa.array([None] * rows, pa.string()),
            "_hw_late": pa.array([False] * rows),
            "_hw_seq": pa.array(numbers, pa.int64()),
            "_hw_received_at": micros,
            "_hw_receipt": pa.array(["rcp_1"] * rows),
            "_hw_contract": pa.array(["1.0"] * rows),
        }
    )


@dataclass
class Asked:
    """The running process."""

    http: httpx.AsyncClient
    door: Door
    control: FakeControl
    runtime: ProcessRuntime
    service: QueryService
    lake: TableStore
    sealed: dict[str, int] = field(default_factory=dict)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.http.get(path, **more)

    def seal(self, name: str, rows: pa.Table) -> int:
        """Append rows to a table of the environment, as the sealer does."""
        self.sealed[name] = self.sealed.get(name, 0) + 1
        return self.lake.append(f"{ENVIRONMENT}/{name}", rows, AppTransaction("test", self.sealed[name]))


@contextlib.asynccontextmanager
async def asking(
    home: Path,
    *endpoints: EndpointSpec,
    contracts: Iterable[Contract] = (FLIGHTS, SECRETS),
    keys: Mapping[str, KeySpec] | None = None,
    query: QuerySettings | None = None,
    number: int = 1,
    cache_url: str | None = None,
) -> AsyncIterator[Asked]:
    """Run the service with these endpoints; the key may do everything unless ``keys`` says otherwise."""
    control = FakeControl()
    settings = Settings(
        home=home,
        query=query or QuerySettings(sql_memory_bytes=1 << 28, memory_limit_bytes=1 << 28),
        cache=CacheSettings(url=cache_url),
    )
    runtime = ProcessRuntime(settings, journal=MemoryJournal(), lake=open_lake(settings))
    control.establish_trust(runtime.home)
    all_powers = make_key("endpoint.invoke:*", "dataset.read:*", "sql.run:*")
    control.publish(
        make_snapshot(
            number,
            keys=keys if keys is not None else {KEY: all_powers},
            datasets={contract.name: dataset(contract) for contract in contracts},
            endpoints={one.name: one for one in endpoints},
        )
    )
    service = create(runtime)
    door = compose(runtime, [service], transport=control.transport())
    async with alive(door):
        await until(lambda: bool(runtime.environments))
        transport = httpx.ASGITransport(door, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://services", headers=AUTHORIZED) as http:
            yield Asked(http, door, control, runtime, service, runtime.lake)
