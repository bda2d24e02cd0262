from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from django.db import DatabaseError, connection
from tests.builders.control import make_account, make_environment, make_key, newest_snapshot
from tests.builders.registry import make_model, make_version

from headwater.control import configuration
from headwater.control.access.actions import create_service_account, revoke_key
from headwater.control.catalog.actions import publish_endpoint
from headwater.control.kit.actions import SYSTEM, Actor, action
from headwater.control.kit.contributions import _contributions, contribute
from headwater.control.orgs.actions import change_protection, create_environment
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import promote_version
from headwater.control.registry.models import Model
from headwater.control.snapshots import publish
from headwater.control.snapshots.models import Snapshot
from headwater.control.snapshots.signing import signing_key
from headwater.core.errors import HeadwaterError
from headwater.core.sealed_snapshot import SignedSnapshot, load_public_key
from headwater.core.snapshot import DatasetSpec

FLIGHTS = {"id": "ds_1", "name": "flights", "active_version": "1.0", "contracts": {}}


@pytest.fixture
def datasets() -> Iterator[dict[str, Any]]:
    """What an app contributes as datasets, to be changed by the test. Only these, whatever apps are installed."""
    kept = dict(_contributions)
    entries: dict[str, Any] = {"flights": FLIGHTS}

    def give(_environment: object) -> Mapping[str, Any]:
        if "raise" in entries:
            raise entries["raise"]
        return entries

    contribute("datasets", give, models=())
    yield entries
    _contributions.clear()
    _contributions.update(kept)


def newest(environment: Environment) -> Snapshot:
    row: Snapshot | None = Snapshot.unscoped.filter(environment=environment).order_by("-number").first()
    assert row is not None
    return row


def test_a_snapshot_verifies_with_the_homes_public_key(environment: Environment) -> None:
    row = newest(environment)
    signed = SignedSnapshot(payload=row.payload, sha256=row.sha256, signature=row.signature)
    snapshot = signed.verify(load_public_key(configuration.home().snapshot_public_key.read_text()))
    assert snapshot.environment.id == environment.public_id
    assert (snapshot.environment.organization, snapshot.environment.project) == ("acme", "air")
    assert snapshot.number == row.number


def test_equal_contents_get_no_new_number(environment: Environment) -> None:
    number = newest(environment).number
    assert publish.publish(environment.id) is None
    create_service_account(actor=SYSTEM, project=environment.project, name="no-key-yet")
    assert publish.publish_all() == []
    assert newest(environment).number == number
    change_protection(actor=SYSTEM, environment=environment, protected=True)
    assert newest(environment).number == number + 1
    assert newest_snapshot(environment).environment.protected


def test_numbers_grow_per_environment_and_others_are_left_alone(environment: Environment) -> None:
    other = create_environment(actor=SYSTEM, project=environment.project, key="prod")
    before = newest(other).number
    make_key(environment)
    make_key(environment)
    assert newest(other).number == before
    numbers = list(
        Snapshot.unscoped.filter(environment=environment).order_by("number").values_list("number", flat=True)
    )
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_action_that_fails_publishes_nothing(environment: Environment) -> None:
    @action("snapshots.test.failed", permission=None)
    def protect_and_fail(*, actor: Actor, environment: Environment) -> None:
        change_protection(actor=actor, environment=environment, protected=True)
        raise OSError("late")

    number = newest(environment).number
    with pytest.raises(OSError, match="late"):
        protect_and_fail(actor=SYSTEM, environment=environment)
    assert newest(environment).number == number


def test_several_changes_of_one_action_publish_once(environment: Environment) -> None:
    @action("snapshots.test.several", permission=None)
    def make_two(*, actor: Actor, environment: Environment) -> None:
        for name in ("one", "two"):
            make_key(environment, make_account(environment.project, name))

    number = newest(environment).number
    make_two(actor=SYSTEM, environment=environment)
    assert newest(environment).number == number + 1
    assert len(newest_snapshot(environment).keys) == 2


@pytest.mark.parametrize(
    "broken",
    [{"name": "flights"}, HeadwaterError("contract_invalid", "no such type")],
    ids=["a spec that does not fit", "an error in its place"],
)
def test_a_broken_spec_leaves_the_last_good_one_and_lets_a_revoked_key_go(
    environment: Environment, datasets: dict[str, Any], broken: Any
) -> None:
    key, _ = make_key(environment)
    assert newest_snapshot(environment).datasets == {"flights": DatasetSpec.model_validate(FLIGHTS)}
    datasets["flights"] = broken
    datasets["weather"] = FLIGHTS | {"id": "ds_2", "name": "weather"}
    revoke_key(actor=SYSTEM, key=key)
    after = newest_snapshot(environment)
    assert key.secret_sha256 not in after.keys
    assert after.datasets["flights"] == DatasetSpec.model_validate(FLIGHTS)
    assert "weather" in after.datasets
    (problem,) = newest(environment).problems
    assert (problem["section"], problem["name"]) == ("datasets", "flights")
    datasets["flights"] = FLIGHTS
    publish.publish_all()
    assert newest(environment).problems == []


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), DatabaseError("gone")])
def test_an_app_that_fails_leaves_its_last_good_section(
    environment: Environment, datasets: dict[str, Any], error: Exception
) -> None:
    key, _ = make_key(environment)
    datasets["raise"] = error
    revoke_key(actor=SYSTEM, key=key)
    after = newest_snapshot(environment)
    assert key.secret_sha256 not in after.keys
    assert list(after.datasets) == ["flights"]
    assert str(error) in newest(environment).problems[0]["problem"]


def test_a_failing_query_of_an_app_leaves_the_transaction_usable(
    environment: Environment, datasets: dict[str, Any]
) -> None:
    class Failing(Exception):
        pass

    def fail(_environment: object) -> Mapping[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")
        raise Failing

    contribute("datasets", fail, models=())
    key, _ = make_key(environment)
    assert key.secret_sha256 in newest_snapshot(environment).keys


def test_a_snapshot_that_this_release_cannot_read_holds_nothing_up(environment: Environment) -> None:
    key, _ = make_key(environment)
    Snapshot._base_manager.filter(pk=newest(environment).pk).update(payload='{"number": "from another time"}')
    revoke_key(actor=SYSTEM, key=key)
    assert key.secret_sha256 not in newest_snapshot(environment).keys


def test_one_broken_endpoint_or_model_leaves_the_others_alone(environment: Environment) -> None:
    good = {"sql": "SELECT 1", "tables": []}
    for name in ("first", "second"):
        publish_endpoint(actor=SYSTEM, environment=environment, name=name, spec=good, source="SELECT 1")
        version = make_version(make_model(environment, name))
        promote_version(actor=SYSTEM, version=version, environment=environment)
    publish_endpoint(actor=SYSTEM, environment=environment, name="first", spec={"sql": "SELECT 2"}, source="SELECT 2")
    version = make_version(Model.objects.for_org(environment.org).get(name="first"), "b", framework="abacus")
    promote_version(actor=SYSTEM, version=version, environment=environment)
    publish_endpoint(
        actor=SYSTEM, environment=environment, name="second", spec=good | {"sql": "SELECT 3"}, source="SELECT 3"
    )
    after = newest_snapshot(environment)
    assert (after.endpoints["first"].sql, after.endpoints["second"].sql) == ("SELECT 1", "SELECT 3")
    assert after.models["first"].routes[0].version == 1
    assert [(item["section"], item["name"]) for item in newest(environment).problems] == [
        ("endpoints", "first"),
        ("models", "first"),
    ]


def test_only_the_newest_snapshots_are_kept(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "KEPT", 3)
    for protected in (True, False, True, False):
        change_protection(actor=SYSTEM, environment=environment, protected=protected)
    numbers = sorted(Snapshot.unscoped.filter(environment=environment).values_list("number", flat=True))
    assert numbers == [3, 4, 5]


def test_without_a_signing_key_a_change_that_needs_publishing_fails_whole(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from headwater.core.home import Home

    monkeypatch.setattr(configuration, "home", lambda: Home(tmp_path))
    with pytest.raises(HeadwaterError, match="no signing key"):
        change_protection(actor=SYSTEM, environment=environment, protected=True)
    environment.refresh_from_db()
    assert not environment.protected
    Home(tmp_path).prepare()
    Home(tmp_path).snapshot_private_key.write_bytes(base64.b64encode(b"short"))
    with pytest.raises(HeadwaterError, match="not a signing key"):
        signing_key()


def test_an_unrelated_organisation_is_not_published(environment: Environment) -> None:
    other = make_environment("other")
    before = newest(other).number
    make_key(environment)
    assert newest(other).number == before


def test_a_database_from_a_backup_numbers_on_from_what_services_run(environment: Environment) -> None:
    before = newest(environment).number
    kept = configuration.home().snapshots / environment.public_id
    kept.mkdir()
    try:
        for name in (f"{before + 5}.json", ".x.json", "9" * 40 + ".json", f"{before + 900}.tmp"):
            (kept / name).write_text("{}")
        row = publish.publish(environment.pk)
        assert row is not None
        assert row.number == before + 6
        assert publish.publish(environment.pk) is None
        (kept / f"{before + 6}.json").write_text("{}")
        assert publish.publish(environment.pk) is None
    finally:
        shutil.rmtree(kept)
