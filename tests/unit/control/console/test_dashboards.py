"""Dashboards in the console: tiles answer as their reader, say what is missing, and are carried away whole."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from tests.builders.console import signed_in
from tests.builders.control import make_environment, make_member, make_user
from tests.builders.dashboards import BOARD, board, make_dashboard
from tests.fakes.data_plane import FakeServices, no_services, services

import headwater.control.console
from headwater.control.access.actions import grant
from headwater.control.access.queries import get_role
from headwater.control.access.roles import create_role
from headwater.control.console.boards.answers import MOST_POINTS
from headwater.control.console.boards.layout import place_tiles
from headwater.control.console.boards.poster import draw_board
from headwater.control.console.boards.text import to_html, to_lines
from headwater.control.console.boards.theme import THEMES
from headwater.control.dashboards.models import Dashboard
from headwater.control.dashboards.queries import find_dashboard, newest_revision
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.core.dashboards import parse_board, to_plain

__all__ = ["no_services", "services"]
HERE = "/o/acme/air/dev/dashboards/"
ANSWER: dict[str, Any] = {
    "meta": {
        "columns": [{"name": "carrier", "type": "VARCHAR"}, {"name": "worst", "type": "DECIMAL(9,1)"}],
        "row_count": 2,
        "policy": {"flights": "ours"},
    },
    "data": [{"carrier": "AA", "worst": "12.5"}, {"carrier": "<script>", "worst": None}],
}


@pytest.fixture
def made(environment: Environment, owner: Actor) -> Dashboard:
    return make_dashboard(environment, owner)


@pytest.fixture
def client(environment: Environment, owner: Actor) -> Client:
    return signed_in(owner.subject)


def told(client: Client, path: str) -> Any:
    reply = client.get(HERE + path)
    assert reply.status_code == 200, (path, reply.status_code)
    return json.loads(reply.content)


def test_a_tile_answers_with_rows_that_can_be_drawn(made: Dashboard, client: Client, services: FakeServices) -> None:
    services.view = ANSWER
    found = told(client, "delays/tiles/chart/?carrier=UA&stranger=1")
    assert found["state"] == "ok"
    assert found["columns"] == [
        {"name": "carrier", "type": "VARCHAR", "kind": "nominal"},
        {"name": "worst", "type": "DECIMAL(9,1)", "kind": "quantitative"},
    ]
    assert found["rows"] == [["AA", 12.5], ["<script>", None]]
    assert found["notes"] == ["Policy ours decides what you see of flights."]
    assert found["view"]["encoding"]["x"]["field"] == "carrier"
    assert "data" not in found["view"]
    (asked,) = services.viewings
    assert (asked["path"], asked["parameters"]) == ("endpoints/worst", {"carrier": "UA"})
    assert asked["viewer"]["email"] == "" or "@" in asked["viewer"]["email"]


def test_more_points_than_a_browser_draws_are_cut_and_it_says_so(
    made: Dashboard, client: Client, services: FakeServices
) -> None:
    rows = [{"carrier": str(n), "worst": n} for n in range(MOST_POINTS + 5)]
    services.view = {"meta": {**ANSWER["meta"], "row_count": len(rows)}, "data": rows}
    found = told(client, "delays/tiles/chart/")
    assert (len(found["rows"]), found["total"], found["cut"]) == (MOST_POINTS, MOST_POINTS + 5, True)
    assert len(told(client, "delays/tiles/rows/")["rows"]) == 100


def only_dashboards(environment: Environment) -> Client:
    """Return the browser of somebody who may see dashboards and ask no endpoint."""
    role = create_role(actor=SYSTEM, org=environment.org, name="looker", permissions=["dashboard.read"])
    member = make_member(environment.org, "producer")
    grant(actor=SYSTEM, scope=environment, role=get_role(role.name, environment.org), membership=member)
    return signed_in(member.user)


def test_a_reader_without_rights_to_an_endpoint_sees_why_and_no_data(
    made: Dashboard, environment: Environment, services: FakeServices
) -> None:
    services.view = ANSWER
    looker = only_dashboards(environment)
    assert looker.get(f"{HERE}delays/").status_code == 200
    for path in ("delays/tiles/chart/", "delays/tiles/rows/", "delays/tiles/chart/live/"):
        found = told(looker, path)
        assert found["state"] == "forbidden"
        assert "endpoint.invoke" in found["hint"]
        assert found["rows"] == []
    assert looker.get(f"{HERE}delays/tiles/chart/rows.csv").status_code == 403
    assert looker.get(f"{HERE}delays/tiles/chart/image.svg").status_code == 403
    drawn = looker.get(f"{HERE}delays/image.svg").content.decode()
    assert "You may not see what worst answers." in drawn
    assert "12.5" not in drawn
    assert services.viewings == []
    for path in ("new/", "delays/edit/", "preview/", "delays/archive/"):
        assert looker.post(HERE + path, {}).status_code == 403, path


def test_to_strangers_there_is_no_dashboard(made: Dashboard, services: FakeServices) -> None:
    services.view = ANSWER
    make_dashboard(make_environment("other"))
    for client in (signed_in(), signed_in(make_member(make_environment("third").org, "owner", make_user()).user)):
        for path in ("", "delays/", "delays/tiles/chart/", "delays/image.svg", "delays/file.yaml", "delays/edit/"):
            assert client.get(HERE + path).status_code == 404, path
    assert services.viewings == []


def test_tiles_say_what_is_wrong_and_what_to_do(made: Dashboard, client: Client, no_services: None) -> None:
    away = told(client, "delays/tiles/chart/")
    assert (away["state"], away["hint"]) == ("away", "Check that `headwater serve services` is running.")
    wrong = told(client, "delays/tiles/chart/?carrier=ZZ")
    assert wrong["state"] == "error"
    assert "filter Carrier" in wrong["problem"] or "Filter Carrier" in wrong["problem"]
    assert client.get(f"{HERE}delays/tiles/words/").status_code == 404
    assert client.get(f"{HERE}delays/tiles/gone/").status_code == 404
    assert client.get(f"{HERE}delays/tiles/chart/rows.exe").status_code == 404


def test_a_preview_shows_a_tile_that_is_not_saved(made: Dashboard, client: Client, services: FakeServices) -> None:
    services.view = ANSWER

    def preview(tile: Any, filters: Any = ()) -> Any:
        body = json.dumps({"filters": list(filters), "tile": tile})
        return json.loads(client.post(f"{HERE}preview/", body, content_type="application/json").content)

    assert preview(BOARD["tiles"][1])["state"] == "ok"
    assert preview(BOARD["tiles"][0])["words"].startswith("<h3>Hello")
    broken = preview(BOARD["tiles"][1] | {"value": ""})
    assert (broken["state"], broken["hint"]) == ("error", "value: String should have at least 1 character")
    assert preview(BOARD["tiles"][2] | {"plot": None, "vega": {"mark": "image"}})["state"] == "error"
    assert client.post(f"{HERE}preview/", b"{", content_type="application/json").status_code == 200


def test_the_builder_saves_what_was_built_and_keeps_what_could_not_be(
    made: Dashboard, client: Client, environment: Environment, no_services: None
) -> None:
    spec = json.dumps(board(title="Built"))
    reply = client.post(f"{HERE}new/", {"spec": spec, "name": "built", "note": "mine"}, follow=True)
    assert reply.redirect_chain[-1][0] == f"{HERE}built/"
    assert newest_revision(find_dashboard(environment, "built")).spec == to_plain(parse_board(json.loads(spec)))
    wrong = board(title="", tiles=[BOARD["tiles"][1] | {"endpoint": "gone"}])
    page = client.post(f"{HERE}new/", {"spec": json.dumps(wrong), "name": "x"}).content.decode()
    assert "title: String should have at least 1 character" in page
    assert "&quot;gone&quot;" in page
    misfit = board(tiles=[BOARD["tiles"][1] | {"endpoint": "gone"}])
    page = client.post(f"{HERE}new/", {"spec": json.dumps(misfit), "name": "x"}).content.decode()
    assert "there is no endpoint &#x27;gone&#x27;" in page
    assert not Dashboard.unscoped.filter(name="x").exists()
    for text in ("", "{", "[" * 5_000, '"x"'):
        assert client.post(f"{HERE}new/", {"spec": text, "name": "x"}).status_code == 200
    client.post(f"{HERE}delays/edit/", {"spec": spec, "revision": "1", "note": "n"})
    assert find_dashboard(environment, "delays").title == "Built"
    late = client.post(f"{HERE}delays/edit/", {"spec": json.dumps(board(title="Late")), "revision": "1"})
    assert "saved by somebody else meanwhile" in late.content.decode()
    assert "Late" in late.content.decode()
    client.post(f"{HERE}delays/revert/1/", {"reason": ""})
    assert find_dashboard(environment, "delays").title == "Delays"
    client.post(f"{HERE}delays/archive/", {"reason": "old"})
    client.get(HERE)  # tells what was done
    assert "Delays" not in client.get(HERE).content.decode()
    assert "Delays" in client.get(f"{HERE}?archived=1").content.decode()


def test_the_page_lets_streams_in_only_where_a_tile_is_live(
    environment: Environment, client: Client, no_services: None
) -> None:
    make_dashboard(environment)
    live = [BOARD["tiles"][1] | {"live": True}]
    make_dashboard(environment, name="live", tiles=live)
    quiet, open_ = (client.get(f"{HERE}{name}/").headers["Content-Security-Policy"] for name in ("delays", "live"))
    assert "connect-src 'self';" in quiet
    assert re.search(r"connect-src 'self' http://127\.0\.0\.1:\d+;", open_)
    for policy in (quiet, open_):
        assert "unsafe" not in policy


def test_the_charts_script_is_kept_for_ever_under_a_name_of_its_own(db: None) -> None:
    from headwater.control.console.boards.bundle import bundle_name

    client = Client()
    reply = client.get(f"/assets/{bundle_name()}")
    assert (reply.status_code, reply.headers["Content-Encoding"]) == (200, "gzip")
    assert "immutable" in reply.headers["Cache-Control"]
    assert client.get("/assets/vega-0.js").status_code == 404


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# A\n\n**b** *c* `d`", "<h3>A</h3>"),
        ("- a\n- b", "<li>b</li>"), ("<script>alert(1)</script>", "&lt;script&gt;"),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"), ("[x](//evil.example)", "[x](//evil.example)"),
        ("![x](https://evil.example/x.png)", "!<a"), ("[x](data:text/html,1)", "[x](data:"),
        ("[x](https://example.com)", 'rel="noopener noreferrer nofollow"'), ("<https://example.com>", "&lt;https"),
    ],
)  # fmt: skip
def test_words_are_a_safe_part_of_markdown(text: str, shown: str) -> None:
    html = to_html(text, titled=True)
    assert shown in html
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html


def test_words_in_an_image_are_plain_lines() -> None:
    assert to_lines("## Head\n\na **b**\nc\n\n- d") == [("Head", True), ("a b c", False), ("d", False)]


def test_images_lie_as_the_page_does_and_hold_no_markup_of_others(made: Dashboard) -> None:
    shown = parse_board(board(title="<b>&", filters=[], tiles=[
        BOARD["tiles"][0] | {"width": 8, "height": 2, "text": "<script>"},
        BOARD["tiles"][1] | {"width": 6, "height": 1},
        BOARD["tiles"][3] | {"width": 4, "height": 3, "parameters": {}},
    ]))  # fmt: skip
    boxes, end = place_tiles(shown.tiles, 0)
    assert [(round(x), round(y)) for x, y, _, _ in boxes] == [(28, 0), (28, 168), (648, 168)]
    assert round(end) == 404
    drawn = draw_board(shown, {}, THEMES["light"], "</svg>")
    assert "<script" not in drawn
    assert "&lt;b&gt;&amp;" in drawn
    assert drawn.count("</svg>") == 1


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def seen_by(colour: str, matrix: list[list[float]]) -> list[float]:
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return [sum(weight * part for weight, part in zip(row, parts, strict=True)) for row in matrix]


# Machado, Oliveira and Fernandes (2009), full severity.
DEUTAN = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
PROTAN = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]


@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_the_colours_of_charts_are_told_apart_by_everybody(theme: Any) -> None:
    ground = luminance(theme.surface)
    for colour in theme.categories:
        light, dark = sorted((luminance(colour), ground), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, colour
    first = theme.categories[:5]
    for matrix in (DEUTAN, PROTAN):
        seen = [seen_by(colour, matrix) for colour in first]
        for at, one in enumerate(seen):
            for other_at, other in enumerate(seen[:at]):
                apart = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
                assert apart > 20, (first[at], first[other_at])


def test_images_have_the_colours_of_the_page() -> None:
    root = Path(headwater.control.console.__file__).parent / "static" / "headwater" / "console"
    css = (root / "boards.css").read_text() + (root / "tokens.css").read_text()
    tokens = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", css))
    names = {"ground": "ground", "surface": "surface", "line": "line", "line_strong": "line-strong", "text": "text",
             "muted": "muted", "good": "good", "bad": "bad"}  # fmt: skip
    for at, theme in enumerate((THEMES["light"], THEMES["dark"])):
        for member, token in names.items():
            assert getattr(theme, member) == tokens[token].split(", ")[at], member
        assert list(theme.categories) == [tokens[f"c{n}"].split(", ")[at] for n in range(1, 9)]
        assert list(theme.heat) == [tokens[f"heat-{name}"].split(", ")[at] for name in ("low", "mid", "high")]
