"""The OpenFeature SDK with its OFREP provider, unmodified, against a real services process and a real control."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason
from tests.builders.flags import make_flag
from tests.builders.processes import ServicesProcess, free_port, serving, wait_until
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl

from headwater.core.flags import FlagSpec, PrerequisiteSpec, RuleSpec, WeightSpec
from headwater.core.home import Home

pytestmark = pytest.mark.alone
SPLIT = tuple(WeightSpec(variant=name, weight_bps=5_000) for name in ("on", "off"))
FLAGS = (
    make_flag("boolean", default_variant="on"),
    make_flag("string", type="string", variants={"a": "grüezi", "b": ""}, default_variant="a", off_variant="b"),
    make_flag("integer", type="integer", variants={"a": 7, "b": 0}, default_variant="a", off_variant="b"),
    make_flag("number", type="number", variants={"a": 2, "b": 0.5}, default_variant="a", off_variant="b"),
    make_flag("object", type="object", variants={"a": {"x": [1, 2]}, "b": {}}, default_variant="a", off_variant="b"),
    make_flag("off", default_variant="on", enabled=False),
    make_flag("ruled", rules=(RuleSpec(when="country = 'DE' and user.age >= 18", variant="on"),)),
    make_flag("split", rules=(RuleSpec(split=SPLIT),)),
    make_flag("waiting", default_variant="on", prerequisites=(PrerequisiteSpec(flag="off", variants=("on",)),)),
    make_flag("broken", rules=(RuleSpec(when="((", variant="on"),)),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeControl, str]]:
    """Run control and services over the network; yield control and the services' address."""
    control, home = FakeControl(), tmp_path_factory.mktemp("home")
    Home(home).prepare()
    control.establish_trust(Home(home))
    publish(control, 1, FLAGS)
    with serving(control.app, free_port()) as control_url, _services(home, control_url) as services:
        services.wait_ready()
        yield control, f"http://127.0.0.1:{services.port}"


@contextlib.contextmanager
def _services(home: Path, control_url: str) -> Iterator[ServicesProcess]:
    with ServicesProcess(home, only=["flags"], control__url=control_url) as services:
        yield services
        assert services.stop()[0] == 0


def publish(control: FakeControl, number: int, flags: tuple[FlagSpec, ...]) -> None:
    keys = {KEY: make_key("flag.evaluate:*")}
    control.publish(make_snapshot(number, keys=keys, flags={flag.key: flag for flag in flags}))


def client_of(address: str, *, key: str = KEY) -> OpenFeatureClient:
    provider = OFREPProvider(address, headers_factory=lambda: {"Authorization": f"Bearer {key}"})
    api.set_provider(provider, "headwater-test")
    return api.get_client("headwater-test")


@pytest.fixture
def client(world: tuple[FakeControl, str]) -> Iterator[OpenFeatureClient]:
    yield client_of(world[1])
    api.clear_providers()


def test_every_type_of_value_arrives_as_itself(client: OpenFeatureClient) -> None:
    assert client.get_boolean_value("boolean", False) is True
    assert client.get_string_value("string", "") == "grüezi"
    assert client.get_integer_value("integer", 0) == 7
    assert client.get_float_value("number", 0.0) == 2.0
    assert client.get_object_value("object", {}) == {"x": [1, 2]}


def test_a_static_flag_says_so(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("boolean", False)
    assert (details.variant, details.reason, details.error_code) == ("on", Reason.STATIC, None)
    assert details.flag_metadata["revision"] == 1


def test_rules_see_the_context(client: OpenFeatureClient) -> None:
    adult = EvaluationContext("u1", {"country": "DE", "user": {"age": 18}})
    details = client.get_boolean_details("ruled", False, adult)
    assert (details.value, details.reason) == (True, Reason.TARGETING_MATCH)
    assert details.flag_metadata["rule"] == 1
    child = client.get_boolean_details("ruled", True, EvaluationContext("u1", {"country": "DE", "user": {"age": 7}}))
    assert (child.value, child.reason) == (False, Reason.DEFAULT)


def test_a_split_sticks_to_the_targeting_key(client: OpenFeatureClient) -> None:
    answers = {key: client.get_boolean_details("split", False, EvaluationContext(key)) for key in map(str, range(40))}
    assert {details.reason for details in answers.values()} == {Reason.SPLIT}
    assert {details.value for details in answers.values()} == {True, False}
    for key, details in answers.items():
        assert client.get_boolean_value("split", False, EvaluationContext(key)) == details.value


def test_what_is_off_or_waits_is_disabled(client: OpenFeatureClient) -> None:
    for key in ("off", "waiting"):
        details = client.get_boolean_details(key, True)
        assert (details.value, details.reason) == (False, Reason.DISABLED)


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("gone", ErrorCode.FLAG_NOT_FOUND),
        ("split", ErrorCode.TARGETING_KEY_MISSING),
        ("broken", ErrorCode.GENERAL),
        ("string", ErrorCode.TYPE_MISMATCH),
    ],
)
def test_errors_have_their_codes_and_the_default_stands(client: OpenFeatureClient, key: str, code: ErrorCode) -> None:
    details = client.get_boolean_details(key, True)
    assert (details.value, details.reason, details.error_code) == (True, Reason.ERROR, code)
    assert details.error_message


def test_a_context_that_cannot_be_is_an_invalid_context(client: OpenFeatureClient) -> None:
    details = client.get_boolean_details("boolean", False, EvaluationContext(None, {"targetingKey": 7}))
    assert (details.value, details.error_code) == (False, ErrorCode.INVALID_CONTEXT)


def test_a_wrong_key_is_an_error_and_the_default_stands(world: tuple[FakeControl, str]) -> None:
    details = client_of(world[1], key="hw_wrong").get_boolean_details("boolean", False)
    assert (details.value, details.error_code, details.error_message) == (False, ErrorCode.GENERAL, "unauthorized")
    api.clear_providers()


def test_a_change_is_seen_in_under_a_second(world: tuple[FakeControl, str], client: OpenFeatureClient) -> None:
    control, _address = world
    changed = [flag.model_copy(update={"default_variant": "b"}) if flag.key == "integer" else flag for flag in FLAGS]
    for number, flags, value in ((2, tuple(changed), 0), (3, FLAGS, 7)):
        publish(control, number, flags)
        began = time.monotonic()
        wait_until(lambda value=value: client.get_integer_value("integer", -1) == value, 5)  # type: ignore[misc]
        assert time.monotonic() - began < 1.0


def test_it_answers_on_when_control_is_gone(world: tuple[FakeControl, str], client: OpenFeatureClient) -> None:
    control, _address = world
    control.is_down = True
    try:
        assert client.get_integer_value("integer", 0) == 7
    finally:
        control.is_down = False


def test_the_answers_are_the_protocols(world: tuple[FakeControl, str]) -> None:
    """Hold a bulk answer against the members that the protocol's schema has."""
    import httpx

    body: dict[str, Any] = {"context": {"targetingKey": "u1"}}
    headers = {"authorization": f"Bearer {KEY}"}
    reply = httpx.post(f"{world[1]}/ofrep/v1/evaluate/flags", json=body, headers=headers)
    assert reply.headers["etag"]
    for flag in json.loads(reply.content)["flags"]:
        allowed = {"key", "errorCode", "errorDetails"} if "errorCode" in flag else _SUCCESS
        assert set(flag) <= allowed
        assert isinstance(flag["key"], str)


_SUCCESS = {"key", "value", "reason", "variant", "metadata"}
