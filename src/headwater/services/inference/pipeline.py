"""What all forms of asking have in common: being let in, routed, run, and told of."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable
from typing import Any, Final

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_ids
from headwater.services.inference.asking import STICKY_HEADER, Answer, Asked, Reader, read_deadline
from headwater.services.inference.batch import Inputs, Share
from headwater.services.inference.bodies import Budget, ClientGone, Receive
from headwater.services.inference.cache import ResponseCache
from headwater.services.inference.health import FAULTS, judge
from headwater.services.inference.metrics import InferenceMetrics
from headwater.services.inference.models import CompiledModels, ServedModel
from headwater.services.inference.observations import Entry, Failure, Observer
from headwater.services.inference.overriding import Overriding
from headwater.services.inference.queueing import too_late
from headwater.services.inference.routing import Route
from headwater.services.inference.running import predict
from headwater.services.inference.shadows import Shadows
from headwater.services.inference.version import ServedVersion
from headwater.services.inference.window import bucket_of
from headwater.services.kit.request import authenticate, context_of
from headwater.services.kit.service import ASGIScope, Caller, Runtime

_GONE: Final = "client_gone"


class Pipeline:
    """Takes requests through a process's models. Used from one event loop."""

    def __init__(self, runtime: Runtime, observer: Observer, service: str, metrics: InferenceMetrics) -> None:
        """Ask the models that ``service`` compiled, and tell ``observer``."""
        self.runtime = runtime
        self.observer = observer
        self.service = service
        self._metrics = metrics
        self.budget = Budget(runtime.settings.inference.max_in_flight_bytes)
        self.stall_seconds = runtime.settings.ingest.body_stall_seconds
        self.shadows = Shadows(self.run_shadow, metrics)

    def begin(self, scope: ASGIScope, receive: Receive) -> Asked:
        """Return the request, if it may ask this model and there is room for it: its body is not read yet.

        Raises:
            HeadwaterError: ``unauthenticated``, ``forbidden``, ``model_not_found``, ``model_unavailable``,
                ``overloaded``, ``invalid_header``.
        """
        caller = authenticate(self.runtime, scope)
        parameters = scope["path_params"]
        model = find_model(caller, self.service, parameters["model"], "model.invoke")
        headers = dict(scope["headers"])
        asked = Asked(
            caller,
            caller.environment.compiled[self.service],
            model,
            receive,
            headers,
            context_of(scope).request_id,
            time.monotonic(),
            read_deadline(headers),
        )
        pinned = parameters.get("version")
        if pinned is not None:
            asked.route = pin(caller, model, pinned)
        try:
            self._admit(asked)
        except HeadwaterError as error:
            self._metrics.refused(caller.environment.id, model.spec.name, error.code)
            raise
        return asked

    async def ask(self, asked: Asked, reader: Reader, *, explain: bool = False) -> Answer:
        """Return what a version says; a request that fails is told of here, one that is answered by ``tell``.

        Raises:
            HeadwaterError: what is wrong with the request, or with the model.
            ClientGone: nobody waits any more.
        """
        live = asked.model.live
        self.check_concurrency(asked.model)
        live.running += 1
        route: Route | None = asked.route
        inputs: Inputs | None = None
        routing: dict[str, Any] | None = None
        cache: str | None = None
        try:
            if route is None and not explain:
                route = self._draw(asked, reader)
            if route is None or explain:
                route, inputs, routing = await self._route(asked, reader, explain=explain)
            else:
                self.check_queue(route.version, asked.deadline)
            version = route.version
            if inputs is None:
                inputs = await reader.read(version)
            if version.cache is None:
                share = await self._run(asked, version, inputs, reader)
            else:
                share, cache = await self._run_or_recall(asked, version, version.cache, inputs, reader)
        except Exception as error:
            if route is not None:
                self.failed(asked.model, route, error, inputs, asked.began)
            raise
        finally:
            live.running -= 1
        answer = Answer(route, inputs, share, new_ids("prd", share.stop - share.start), cache, routing)
        if asked.model.overriding is not None:
            _override(asked.model.overriding, answer, reader)
        return answer

    def tell(self, asked: Asked, answer: Answer, reader: Reader) -> None:
        """Count a request that was answered, log it, and let shadows see it. Called once the reply has been sent."""
        now = time.monotonic()
        latency_us = int((now - asked.began) * 1e6)
        self.count(asked.model, answer.route.version, now, now - asked.began, len(answer.ids))
        if not answer.ids:
            return  # every row was bad
        self.observer.add(
            Entry(
                answer.route.version,
                asked.caller,
                asked.request_id,
                answer.route.name,
                answer.ids,
                answer.share if answer.overridden is None else answer.overridden.own,
                time.time_ns() // 1_000,
                latency_us,
                answer.inputs.features,
                overrides=None if answer.overridden is None else answer.overridden.logged(),
            )
        )
        if asked.model.shadows:
            self.shadows.see(asked, answer, reader)

    def count(self, model: ServedModel, version: ServedVersion, now: float, seconds: float, rows: int) -> None:
        """Count a request that a version answered."""
        bucket = bucket_of(seconds * 1e6)
        version.metrics.answered(bucket, seconds, rows)
        if version.window.answered(now, bucket) and model.spec.serving.rollback is not None:
            judge(model, version)

    def failed(self, model: ServedModel, route: Route, error: Exception, inputs: Inputs | None, began: float) -> None:
        """Count a request that a version did not answer."""
        version = route.version
        code = error.code if isinstance(error, HeadwaterError) else "internal"
        if isinstance(error, ClientGone):
            code = _GONE
        is_fault = code in FAULTS
        version.window.failed(time.monotonic(), code, is_fault=is_fault)
        self._observe_failure(version, route.name, code, inputs, began)
        if is_fault and model.spec.serving.rollback is not None:
            judge(model, version)

    async def run_shadow(self, asked: Asked, version: ServedVersion, answer: Answer, reader: Reader) -> None:
        """Ask a shadow version what was answered already; only the log learns what it says."""
        began = time.monotonic()
        inputs: Inputs | None = None
        try:
            inputs = answer.inputs if version.reads_like(answer.route.version) else await reader.read(version)
            share = await predict(version, inputs, reader, None, None)
        except HeadwaterError as error:
            self._observe_failure(version, "shadow", error.code, inputs, began)
            return
        latency_us = int((time.monotonic() - began) * 1e6)
        ids = new_ids("prd", share.stop - share.start)
        self.observer.add(
            Entry(
                version,
                asked.caller,
                asked.request_id,
                "shadow",
                ids,
                share,
                time.time_ns() // 1_000,
                latency_us,
                inputs.features,
                answer.ids,
            )
        )

    async def _route(
        self, asked: Asked, reader: Reader, *, explain: bool
    ) -> tuple[Route, Inputs | None, dict[str, Any] | None]:
        """Return the route; the inputs too where they had to be read for it and fit the version that was chosen."""
        model, routing = asked.model, None
        inputs: Inputs | None = None
        if asked.route is not None:
            return asked.route, None, {"drawn_by": "path", "point": None, "routes": []} if explain else None
        key, drawn_by = asked.headers.get(STICKY_HEADER), "Hw-Sticky-Key"
        if key is None and (explain or len(model.table.routes) > 1):
            key, drawn_by, inputs = await self._draw_key(asked, reader)
        route = model.choose(key or b"")
        if explain:
            routing = model.table.explain(key or b"", drawn_by) | {"tripped": dict(model.live.tripped)}
        if inputs is not None and model.table.routes[0].version.signature.key != route.version.signature.key:
            inputs = None
        self.check_queue(route.version, asked.deadline)
        return route, inputs, routing

    def _draw(self, asked: Asked, reader: Reader) -> Route | None:
        """Return the route, None where rows must be read for it."""
        model = asked.model
        if len(model.table.routes) <= 1:
            return model.choose(b"")
        key = asked.headers.get(STICKY_HEADER)
        if key is None:
            if model.spec.serving.sticky_input is not None:
                return None
            key = reader.entity_key() or asked.body
        return model.choose(key)

    async def _draw_key(self, asked: Asked, reader: Reader) -> tuple[bytes, str, Inputs | None]:
        """Return what a request without a sticky key is routed by, and the inputs if they were read for it."""
        model = asked.model
        name = model.spec.serving.sticky_input
        if name is not None and model.table.routes:
            signature = model.table.routes[0].version.signature
            try:
                inputs = await reader.read(model.table.routes[0].version)
            except HeadwaterError:
                return asked.body, "body", None  # whichever version is drawn says what is wrong with it
            if name in signature.names and len(inputs):
                at = signature.names.index(name)
                value = inputs.rows[0][at] if inputs.matrix is None else float(inputs.matrix[0, at])
                return _canonical(value), f"input {name!r}", inputs
            return asked.body, "body", inputs
        entity = reader.entity_key()
        return (asked.body, "body", None) if entity is None else (entity, "entity", None)

    def _run(self, asked: Asked, version: ServedVersion, inputs: Inputs, reader: Reader) -> Awaitable[Share]:
        if asked.deadline is not None and time.monotonic() > asked.deadline:
            raise too_late()
        return predict(version, inputs, reader, asked.deadline, asked.receive)

    async def _run_or_recall(
        self, asked: Asked, version: ServedVersion, cache: ResponseCache, inputs: Inputs, reader: Reader
    ) -> tuple[Share, str | None]:
        if not len(inputs):
            return await self._run(asked, version, inputs, reader), None
        key = cache.key(inputs)
        found = cache.get(key)
        if found is not None:
            version.metrics.cache_hits += 1
            return found, "hit"
        version.metrics.cache_misses += 1
        share = await self._run(asked, version, inputs, reader)
        cache.put(key, share)
        return share, "miss"

    def _admit(self, asked: Asked) -> None:
        """Raise ``overloaded`` where a request would wait in vain, or its log must not lose it and has no room."""
        model = asked.model
        self.check_concurrency(model)
        if model.spec.serving.log.on_full == "block" and self.observer.is_full:
            raise HeadwaterError(
                "overloaded",
                f"the prediction log of model {model.spec.name!r} cannot keep up, and none may be left out",
                hint="try again shortly",
                retry_after_seconds=1,
            )
        if asked.route is not None:
            self.check_queue(asked.route.version, asked.deadline)
            return
        routes = model.table.routes
        if not routes:
            raise model.unavailable(None)
        if len(routes) == 1:
            self.check_queue(routes[0].version, asked.deadline)

    def check_concurrency(self, model: ServedModel) -> None:
        """Raise ``overloaded`` when as many requests to a model are under way as it may have."""
        if model.live.running >= model.spec.serving.max_concurrency:
            raise HeadwaterError(
                "overloaded",
                f"{model.live.running} requests to model {model.spec.name!r} are under way, as many as it may have",
                hint="try again shortly",
                retry_after_seconds=1,
            )

    def check_queue(self, version: ServedVersion, deadline: float | None) -> None:
        """Raise ``overloaded`` when a version's queue is full, or longer than the caller will wait."""
        batcher = version.batcher
        if batcher.is_full:
            raise HeadwaterError(
                "overloaded",
                f"too many rows wait for model {version.model!r}",
                hint="try again shortly",
                retry_after_seconds=max(math.ceil(batcher.wait_seconds()), 1),
            )
        if deadline is not None and time.monotonic() + (wait := batcher.wait_seconds()) > deadline:
            raise HeadwaterError(
                "overloaded",
                f"the queue of model {version.model!r} takes {wait * 1_000:.0f} ms, longer than the deadline",
                hint="allow more time in Hw-Timeout-Ms, or try again",
                retry_after_seconds=max(math.ceil(wait), 1),
            )

    def _observe_failure(
        self, version: ServedVersion, route: str, code: str, inputs: Inputs | None, began: float
    ) -> None:
        version.metrics.failed(code)
        latency_us = int((time.monotonic() - began) * 1e6)
        rows = 0 if inputs is None else len(inputs)
        self.observer.failed(Failure(version, route, code, rows, time.time_ns() // 1_000, latency_us))


def _override(overriding: Overriding, answer: Answer, reader: Reader) -> None:
    """Put what people have decided in the place of what the version said."""
    version = answer.route.version
    entities = getattr(reader, "entities", None)
    outputs = [output.name for output in version.spec.outputs]
    served = overriding.apply(version.signature.names, outputs, answer.inputs, answer.share, entities)
    if served is not None:
        answer.share, answer.overridden = served


def find_model(caller: Caller, service: str, name: str, permission: str) -> ServedModel:
    """Return a model of the caller's environment.

    Raises:
        HeadwaterError: ``forbidden``, before it is told whether the model exists, or ``model_not_found``.
    """
    if not caller.key.can(permission, name):
        raise HeadwaterError(
            "forbidden",
            f"the key {caller.key.prefix}… lacks {permission} on {name[:80]!r}",
            hint="use a key whose role has it, or ask for a grant",
        )
    compiled: CompiledModels = caller.environment.compiled[service]
    model = compiled.models.get(name)
    if model is None:
        raise caller.environment.missing(
            "model_not_found", f"there is no model {name[:80]!r}", hint="GET /v1/models lists them"
        )
    return model


def pin(caller: Caller, model: ServedModel, text: str) -> Route:
    """Return the route to the version that a path names; raises ``model_not_found`` or ``model_unavailable``."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - fits 32 bits
    version = model.versions.get(number) if number is not None else None
    if version is not None:
        return Route(version, "override", 0)
    if number is not None and number in model.faults:
        raise model.unavailable(number)
    served = ", ".join(map(str, sorted(model.versions)))
    raise caller.environment.missing(
        "model_not_found",
        f"model {model.spec.name!r} has no version {text[:20]!r} to serve",
        hint=f"it serves {served}" if served else None,
    )


def _canonical(value: Any) -> bytes:
    """Return the text of a sticky input; a number is the same whatever form it came in."""
    return repr(float(value)).encode() if isinstance(value, int | float) else repr(value).encode()
