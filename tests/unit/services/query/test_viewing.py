"""Control asks as a reader of the console: the reader's own grants and policies decide, and nobody else may ask so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from tests.builders.snapshots import make_key
from tests.fakes.query_process import AUTHORIZED, BY_CARRIER, ENVIRONMENT, Asked, asking, endpoint, flights

EVERYTHING = ("endpoint.invoke:*", "dataset.read:*")


async def view(
    asked: Asked, path: str, *allowances: str, token: str | None = None, **parameters: str
) -> httpx.Response:
    node = token if token is not None else asked.runtime.home.node_token.read_text().strip()
    viewer: Any = make_key(*allowances).model_dump(mode="json")
    return await asked.http.post(
        f"/internal/v1/viewing/{path}",
        json={"viewer": viewer, "parameters": parameters},
        headers={"Authorization": f"Bearer {node}"},
    )


async def test_a_reader_sees_rows_and_answers(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        asked.seal("flights", flights(0, 90))
        rows = (await view(asked, f"{ENVIRONMENT}/datasets/flights/rows", *EVERYTHING, limit="5")).json()
        assert len(rows["data"]) == 5
        answer = (await view(asked, f"{ENVIRONMENT}/endpoints/by_carrier", *EVERYTHING, carrier="AA")).json()
        assert answer == (await asked.get("/v1/endpoints/by_carrier?carrier=AA")).json()


async def test_a_reader_gets_no_more_than_a_key_of_theirs_would(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        refused = await view(asked, f"{ENVIRONMENT}/datasets/flights/rows", "dataset.read:other")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        hidden = await view(asked, f"{ENVIRONMENT}/endpoints/by_carrier", "dataset.read:*")
        assert (hidden.status_code, hidden.json()["code"]) == (404, "endpoint_not_found")
        wrong = await view(asked, f"{ENVIRONMENT}/endpoints/by_carrier", *EVERYTHING, above="high")
        assert (wrong.status_code, wrong.json()["code"]) == (422, "parameter_invalid")
        protected = (await view(asked, f"{ENVIRONMENT}/datasets/secrets/rows", *EVERYTHING)).json()
        assert protected["data"] == []
        assert "secrets" in protected["meta"]["policy"]


async def test_only_control_may_ask_as_somebody(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        path = f"{ENVIRONMENT}/datasets/flights/rows"
        assert (await view(asked, path, *EVERYTHING, token="wrong")).status_code == 401
        own = AUTHORIZED["Authorization"].removeprefix("Bearer ")
        assert (await view(asked, path, *EVERYTHING, token=own)).status_code == 401
        nowhere = await view(asked, "env_9/datasets/flights/rows", *EVERYTHING)
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")


async def test_an_answer_too_long_for_a_page_is_refused_whole(tmp_path: Path) -> None:
    async with asking(
        tmp_path, endpoint("long", "select range AS number, range AS other, range AS third FROM range(90000)")
    ) as asked:
        reply = await view(asked, f"{ENVIRONMENT}/endpoints/long", *EVERYTHING)
        assert (reply.status_code, reply.json()["code"]) == (413, "payload_too_large")


async def test_control_may_ask_for_another_format_for_more_and_for_what_it_has_not(tmp_path: Path) -> None:
    long = endpoint("long", "select range AS number, range AS other, range AS third FROM range(90000)")
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER), long) as asked:
        asked.seal("flights", flights(0, 90))

        async def ask(name: str, **more: Any) -> httpx.Response:
            return await asked.http.post(
                f"/internal/v1/viewing/{ENVIRONMENT}/endpoints/{name}",
                json={"viewer": make_key(*EVERYTHING).model_dump(mode="json"), **more},
                headers={"Authorization": f"Bearer {asked.runtime.home.node_token.read_text().strip()}"},
            )

        whole = await ask("long", max_bytes=8 << 20)
        assert len(whole.json()["data"]) == 90_000
        assert (await ask("long", max_bytes=1 << 40)).status_code == 400
        lines = await ask("by_carrier", accept="text/csv", parameters={"carrier": "AA"})
        assert lines.headers["content-type"].startswith("text/csv")
        known = await ask("by_carrier", if_none_match=(await ask("by_carrier")).headers["etag"])
        assert (known.status_code, known.content) == (304, b"")
        assert (await ask("by_carrier", accept="text/csv\r\nx: y")).status_code in (400, 406)
