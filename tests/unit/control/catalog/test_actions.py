"""Datasets, contracts and endpoints change by actions alone, and what is sealed stays as it is."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction
from tests.builders.control import events, make_environment
from tests.builders.datasets import make_contract
from tests.builders.projects import small_project

from headwater.contracts.model import Contract
from headwater.control.catalog.actions import activate_contract, create_dataset, draft_contract, retire_contract
from headwater.control.catalog.apply import apply_project
from headwater.control.catalog.models import ContractVersion, Dataset
from headwater.control.kit.actions import Actor
from headwater.control.orgs.actions import create_environment
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError


@pytest.fixture
def orders(environment: Environment, owner: Actor) -> Dataset:
    return create_dataset(actor=owner, project=environment.project, name="orders")


def draft(owner: Actor, dataset: Dataset, contract: Contract | None = None) -> ContractVersion:
    return draft_contract(actor=owner, dataset=dataset, contract=contract or make_contract(), source="text")


def test_numbers_of_versions_have_no_gaps(orders: Dataset, owner: Actor) -> None:
    numbers = [draft(owner, orders, make_contract(version=f"1.{n}")).number for n in range(3)]
    assert numbers == [1, 2, 3]


def test_a_version_exists_once(orders: Dataset, owner: Actor) -> None:
    draft(owner, orders)
    with pytest.raises(HeadwaterError) as caught:
        draft(owner, orders)
    assert caught.value.code == "conflict"


def test_a_contract_for_another_dataset_is_refused(orders: Dataset, owner: Actor) -> None:
    with pytest.raises(HeadwaterError, match="for 'other'"):
        draft(owner, orders, make_contract("other"))


def test_each_environment_has_an_active_version_of_its_own(
    environment: Environment, orders: Dataset, owner: Actor
) -> None:
    production = create_environment(actor=owner, project=environment.project, key="production")
    first, second = draft(owner, orders), draft(owner, orders, make_contract(version="1.1"))
    for where in (environment, production):
        activate_contract(actor=owner, contract=first, environment=where)
    activate_contract(actor=owner, contract=second, environment=environment)
    first.refresh_from_db()
    assert first.state == "active"
    activate_contract(actor=owner, contract=second, environment=production)
    first.refresh_from_db()
    assert first.state == "deprecated"


def test_an_active_version_cannot_be_retired_and_a_retired_one_not_activated(
    environment: Environment, orders: Dataset, owner: Actor
) -> None:
    first, second = draft(owner, orders), draft(owner, orders, make_contract(version="1.1"))
    activate_contract(actor=owner, contract=first, environment=environment)
    with pytest.raises(HeadwaterError, match="is active"):
        retire_contract(actor=owner, contract=first)
    retire_contract(actor=owner, contract=second)
    with pytest.raises(HeadwaterError, match="is retired"):
        activate_contract(actor=owner, contract=second, environment=environment)


def test_a_contract_is_not_activated_in_another_project(orders: Dataset, owner: Actor) -> None:
    elsewhere = make_environment("other")
    with pytest.raises(HeadwaterError):
        activate_contract(actor=owner, contract=draft(owner, orders), environment=elsewhere)


def test_activating_is_audited_with_its_reason(environment: Environment, orders: Dataset, owner: Actor) -> None:
    activate_contract(actor=owner, contract=draft(owner, orders), environment=environment, reason="go live")
    (event,) = events(environment.org, "catalog.contract.activated")
    assert event.reason == "go live"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE catalog_contractversion SET spec = '{}'",
        "UPDATE catalog_contractversion SET version = '9'",
        "DELETE FROM catalog_contractversion",
        "UPDATE catalog_endpointrevision SET source = ''",
        "DELETE FROM catalog_endpointrevision",
    ],
)
def test_the_database_refuses_to_change_what_is_sealed(environment: Environment, owner: Actor, statement: str) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    with pytest.raises(IntegrityError, match="sealed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_draft_is_not_sealed_yet(orders: Dataset, owner: Actor) -> None:
    draft(owner, orders)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_contractversion SET source = 'better'")
        assert cursor.rowcount == 1
