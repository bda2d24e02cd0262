"""Dashboards: revisions that stay, locking, what fits and what does not, and the rights of who asks."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from tests.builders.control import make_account, make_environment, make_key
from tests.builders.dashboards import BOARD, board, make_dashboard
from tests.builders.http import Api
from tests.builders.projects import resources, small_project

from headwater.control.access.actions import grant
from headwater.control.access.queries import get_role
from headwater.control.catalog.apply import apply_project, plan_project
from headwater.control.catalog.payload import ResourceFile, Resources
from headwater.control.dashboards.actions import archive_dashboard, create_dashboard, revert_dashboard, save_dashboard
from headwater.control.dashboards.document import parse_dashboard, write_dashboard
from headwater.control.dashboards.models import Dashboard, DashboardRevision
from headwater.control.dashboards.queries import find_dashboard, newest_revision
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.core.dashboards import parse_board, to_plain
from headwater.core.errors import HeadwaterError


def revisions(dashboard: Dashboard) -> list[DashboardRevision]:
    return list(DashboardRevision.unscoped.filter(dashboard=dashboard).order_by("number"))


def refused(code: str) -> Any:
    return pytest.raises(HeadwaterError, check=lambda error: error.code == code)


def test_every_saving_is_a_revision_with_who_and_why(environment: Environment, owner: Actor) -> None:
    made = make_dashboard(environment, owner)
    save_dashboard(actor=owner, dashboard=made, board=parse_board(board(title="Later")), note="  renamed ")
    assert (made.title, made.number) == ("Later", 2)
    assert [(row.number, row.note, row.saved_by) for row in revisions(made)] == [
        (1, "first", owner.label), (2, "renamed", owner.label),
    ]  # fmt: skip
    save_dashboard(actor=owner, dashboard=made, board=parse_board(board(title="Later")))
    assert len(revisions(made)) == 2
    revert_dashboard(actor=owner, dashboard=made, number=1)
    assert (made.title, made.number, newest_revision(made).note) == ("Delays", 3, "back to revision 1")
    assert newest_revision(made).board == parse_board(BOARD)


def test_of_two_who_save_at_once_the_second_is_told(environment: Environment, owner: Actor) -> None:
    make_dashboard(environment, owner)
    mine, theirs = (find_dashboard(environment, "delays") for _ in range(2))
    save_dashboard(actor=owner, dashboard=theirs, board=parse_board(board(title="Theirs")))
    with refused("conflict"):
        save_dashboard(actor=owner, dashboard=mine, board=parse_board(board(title="Mine")))
    assert [row.spec["title"] for row in revisions(theirs)] == ["Delays", "Theirs"]


def test_a_revision_cannot_be_altered_in_the_database(environment: Environment) -> None:
    made = make_dashboard(environment)
    statement = "UPDATE dashboards_dashboardrevision SET note = 'x'"
    with pytest.raises(DatabaseError, match="sealed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert revisions(made)[0].note == "first"


def test_what_does_not_fit_its_endpoints_is_refused_with_the_place(environment: Environment) -> None:
    made = make_dashboard(environment)
    wrong = board(tiles=[BOARD["tiles"][1] | {"endpoint": "gone"}])
    with refused("dashboard_invalid") as caught:
        save_dashboard(actor=SYSTEM, dashboard=made, board=parse_board(wrong))
    assert caught.value.extra["errors"] == [
        {"path": "tiles[0] (most).endpoint", "message": "there is no endpoint 'gone'; there are: worst"}
    ]
    with refused("dashboard_invalid"):
        create_dashboard(actor=SYSTEM, environment=environment, name="other", board=parse_board(wrong))


@pytest.mark.parametrize("name", ["new", "preview", "Delays", "a b", "", "x" * 64, "a\n"])
def test_a_name_that_cannot_be_an_address_is_refused(environment: Environment, name: str) -> None:
    make_dashboard(environment)
    with refused("invalid_parameter"):
        create_dashboard(actor=SYSTEM, environment=environment, name=name, board=parse_board(BOARD))


def test_an_archived_dashboard_is_not_saved(environment: Environment) -> None:
    made = archive_dashboard(actor=SYSTEM, dashboard=make_dashboard(environment))
    with refused("conflict"):
        save_dashboard(actor=SYSTEM, dashboard=made, board=parse_board(board(title="x")))
    with refused("conflict"):
        revert_dashboard(actor=SYSTEM, dashboard=made, number=1)


def test_a_dashboard_of_that_name_may_be_in_every_environment_once(environment: Environment) -> None:
    make_dashboard(environment)
    make_dashboard(make_environment("other"))
    with refused("conflict"):
        create_dashboard(actor=SYSTEM, environment=environment, name="delays", board=parse_board(BOARD))


def test_the_file_that_is_written_declares_the_same(environment: Environment) -> None:
    made = parse_board(board(description="NO, on: yes # 1\nand more", title="1.0"))
    assert parse_dashboard(write_dashboard(made), source="dashboards/delays.yaml").board == made


def test_faults_of_a_file_name_its_lines() -> None:
    text = """\
title: x
tiles:
  - name: a
    kind: text
    text: hi
  - name: b
    kind: table
    endpoint: e
    rows: 0
"""
    with refused("project_invalid") as caught:
        parse_dashboard(text, source="dashboards/x.yaml")
    (fault,) = caught.value.extra["errors"]
    assert (fault["path"], fault["line"]) == ("tiles[1] (b).rows", 9)
    for name, content in (("New", "title: x"), ("x", "a: ["), ("x", "- 1"), ("new", "title: x")):
        with refused("project_invalid"):
            parse_dashboard(content, source=f"dashboards/{name}.yaml")


def files(**boards: dict[str, Any]) -> Resources:
    texts = {name: write_dashboard(parse_board(one)) for name, one in boards.items()}
    small = small_project()
    return small.model_copy(
        update={
            "dashboards": tuple(
                ResourceFile(source=f"dashboards/{name}.yaml", text=text) for name, text in texts.items()
            )
        }
    )


def changes(outcome: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {one.name: (one.action, one.details) for one in outcome.changes if one.kind == "dashboard"}


def test_applying_a_project_makes_changes_and_restores_its_dashboards(environment: Environment, owner: Actor) -> None:
    planned = plan_project(actor=owner, environment=environment, resources=files(delays=BOARD))
    assert changes(planned) == {"delays": ("create", ("Delays", "4 tiles"))}
    assert not Dashboard.unscoped.exists()
    apply_project(actor=owner, environment=environment, resources=files(delays=BOARD))
    again = apply_project(actor=owner, environment=environment, resources=files(delays=BOARD))
    assert changes(again) == {"delays": ("unchanged", ())}
    tiles = [BOARD["tiles"][3], BOARD["tiles"][1] | {"width": 3}, BOARD["tiles"][0] | {"name": "new"}]
    other = board(title="T", tiles=tiles)
    archive_dashboard(actor=owner, dashboard=find_dashboard(environment, "delays"))
    outcome = apply_project(actor=owner, environment=environment, resources=files(delays=other))
    assert changes(outcome)["delays"] == (
        "update",
        (
            "is shown again", "revision 2", "title changed", "tile new is new", "tile words is gone",
            "tile chart is gone", "tile most changed", "the tiles are in another order",
        ),
    )  # fmt: skip
    row = find_dashboard(environment, "delays")
    assert (row.number, row.archived_at, newest_revision(row).spec) == (2, None, to_plain(parse_board(other)))
    left = apply_project(actor=owner, environment=environment, resources=files())
    assert "left alone" in changes(left)["delays"][1][0]


def test_a_file_that_does_not_fit_stops_the_whole_project(environment: Environment, owner: Actor) -> None:
    wrong = board(tiles=[BOARD["tiles"][1] | {"parameters": {"q": 1}}])
    with refused("project_invalid") as caught:
        apply_project(actor=owner, environment=environment, resources=files(delays=wrong))
    (fault,) = caught.value.extra["errors"]
    assert fault["source"] == "dashboards/delays.yaml"
    assert (fault["path"], fault["message"]) == (
        "tiles[0] (most).parameters.q", "worst has no such parameter; it has: carrier",
    )  # fmt: skip
    assert not Dashboard.unscoped.exists()


def key_api(environment: Environment, role: str, resource: str = "") -> tuple[Api, str]:
    account = make_account(environment.project, f"{role}-{len(resource)}", role="producer")
    grant(actor=SYSTEM, scope=environment, role=get_role(role), service_account=account, resource=resource)
    _key, text = make_key(environment, account)
    return Api(
        Client(), {"authorization": f"Bearer {text}"}
    ), f"/organizations/{environment.org.slug}/projects/air/environments/dev/dashboards"


def test_everything_can_be_done_over_the_api(environment: Environment) -> None:
    apply_project(actor=SYSTEM, environment=environment, resources=small_project())
    api, base = key_api(environment, "developer")
    made = api("PUT", f"{base}/delays", {"spec": BOARD, "note": "first", "revision": 0})
    assert (made.status, made.body["number"]) == (200, 1), made.body
    assert parse_dashboard(made.body["file"], source="x/delays.yaml").board == parse_board(BOARD)
    assert api("PUT", f"{base}/delays", {"spec": BOARD, "revision": 0}).status == 409
    saved = api("PUT", f"{base}/delays", {"spec": board(title="Later"), "revision": 1}).body
    assert (saved["title"], saved["number"], saved["revision"]) == ("Later", 2, 2)
    bad = api("PUT", f"{base}/delays", {"spec": board(tiles=[{"kind": "pie", "name": "x"}])})
    assert (bad.status, bad.body["code"]) == (422, "dashboard_invalid")
    assert bad.body["errors"][0]["path"] == "tiles[0] (x)"
    assert [row["number"] for row in api.get(f"{base}/delays/revisions").body["items"]] == [2, 1]
    assert api.get(f"{base}/delays/revisions/1").body["spec"] == to_plain(parse_board(BOARD))
    assert api.get(f"{base}/delays/revisions/9").status == 404
    assert api.post(f"{base}/delays/revert", {"number": 1}).body["title"] == "Delays"
    assert api.post(f"{base}/delays/archive", {"reason": "old"}).body["archived_at"]
    assert api.get(base).body["items"] == []
    assert [row["name"] for row in api.get(f"{base}?archived=true").body["items"]] == ["delays"]
    assert api.post(f"{base}/delays/restore", {}).body["archived_at"] is None


def test_who_may_read_one_dashboard_reads_that_one_and_changes_none(environment: Environment) -> None:
    make_dashboard(environment)
    make_dashboard(environment, name="other")
    api, base = key_api(environment, "developer", "dashboard:delays")
    assert api.get(f"{base}/delays").status == 200
    assert api("PUT", f"{base}/delays", {"spec": board(title="x")}).status == 200
    assert api.get(f"{base}/other").status == 403
    assert api("PUT", f"{base}/other", {"spec": board(title="x")}).status == 403
    assert api("PUT", f"{base}/third", {"spec": board(title="x")}).status == 403
    reader, _ = key_api(environment, "operator")
    assert reader.get(f"{base}/delays").status == 200
    for method, path, body in (
        ("PUT", "delays", {"spec": BOARD}), ("POST", "delays/archive", {}), ("POST", "delays/revert", {"number": 1}),
    ):  # fmt: skip
        assert reader(method, f"{base}/{path}", body).status == 403, path
    nobody, _ = key_api(environment, "consumer")
    assert nobody.get(f"{base}/delays").status == 403


def test_a_dashboard_of_strangers_does_not_exist(environment: Environment) -> None:
    make_dashboard(environment)
    stranger, _ = key_api(make_environment("other"), "owner")
    base = "/organizations/acme/projects/air/environments/dev/dashboards"
    for path in ("", "/delays", "/delays/revisions"):
        assert stranger.get(base + path).status == 404


def test_a_project_without_endpoints_can_have_words_alone(environment: Environment) -> None:
    apply_project(actor=SYSTEM, environment=environment, resources=resources())
    words = board(filters=[], tiles=[BOARD["tiles"][0]])
    made = create_dashboard(actor=SYSTEM, environment=environment, name="words", board=parse_board(words))
    assert made.number == 1
