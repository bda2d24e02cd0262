from __future__ import annotations

from typing import Any

from headwater.services.kit.hot_routes import HotRoutes


async def _handle(scope: Any, receive: Any, send: Any) -> None: ...


async def _handle_literal(scope: Any, receive: Any, send: Any) -> None: ...


ROUTES = HotRoutes(
    {("POST", "/v1/models/{model}/predict"): _handle, ("POST", "/v1/models/own/predict"): _handle_literal}
)


def test_a_path_has_its_parameters_and_a_literal_wins() -> None:
    for _ in range(2):  # walked to, then remembered
        found = ROUTES.match("POST", "/v1/models/delay/predict")
        assert found is not None
        assert (found[0].handler, found[1]) == (_handle, {"model": "delay"})
        found = ROUTES.match("POST", "/v1/models/own/predict")
        assert found is not None
        assert (found[0].handler, found[1]) == (_handle_literal, {})


def test_what_a_request_does_to_its_parameters_stays_with_it() -> None:
    for _ in range(3):
        found = ROUTES.match("POST", "/v1/models/delay/predict")
        assert found is not None
        found[1]["model"] = "changed"
    again = ROUTES.match("POST", "/v1/models/delay/predict")
    assert again is not None
    assert again[1] == {"model": "delay"}


def test_what_does_not_fit_is_nobody_s() -> None:
    for method, path in (("GET", "/v1/models/a/predict"), ("POST", "/v1/models//predict"), ("POST", "/v1/models/a")):
        assert ROUTES.match(method, path) is None


def test_paths_without_end_are_not_remembered_without_end() -> None:
    routes = HotRoutes({("GET", "/{name}"): _handle})
    for number in range(3_000):
        assert routes.match("GET", f"/{number}") is not None
    assert routes.match("GET", "/" + "x" * 10_000) is not None
    assert len(routes._known) <= 1_024
    assert max(len(path) for _method, path in routes._known) < 1_000
