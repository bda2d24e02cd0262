"""Predictions in the fast lane: plain functions from the bytes of a request to its place in a batch, and back.

``QuickDesk`` takes what ``Pipeline`` lets through without waiting for anything but the model. It declines the rest
before it has touched anything, and then the long way decides. What the requests of one run have in common is done once
for all of them: clocks, ids and the text of outputs.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any, NamedTuple

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id, new_ids
from headwater.core.logging import get_logger
from headwater.services.inference.asking import Answer, Asked, read_deadline
from headwater.services.inference.batch import Doubtful, Inputs, Share
from headwater.services.inference.bodies import ClientGone
from headwater.services.inference.models import CompiledModels, ServedModel
from headwater.services.inference.observations import Entry
from headwater.services.inference.pipeline import Pipeline, find_model, pin
from headwater.services.inference.queueing import Waiting
from headwater.services.inference.quick_forms import Form
from headwater.services.inference.routing import Route
from headwater.services.kit.fast_lane import MAX_HEADS, Call, Head, LaneHandler
from headwater.services.kit.problem import internal_error
from headwater.services.kit.request import CONTEXT, RequestContext, authenticate
from headwater.services.kit.service import Caller

_NAMELESS = RequestContext("")  # the id of a request is made when it is replied to
_NO_STATUS = 0  # of a request whose client has gone, as ``Door`` counts it

_log = get_logger(__name__)


class _Place(NamedTuple):
    """What a head comes to in a configuration: who asks, and which model, and which version where it names one."""

    caller: Caller
    compiled: CompiledModels
    name: str
    pinned: str | None


class _Found(NamedTuple):
    """What is to be run for a request: the model and its route, the rows, and what else its form has read."""

    model: ServedModel
    route: Route
    deadline: float | None
    form: Form
    inputs: Inputs
    read: Any


class QuickAsk(Waiting):
    """A request of the lane that waits for its answer."""

    __slots__ = ("_is_done", "call", "desk", "found", "place", "settle", "share")

    def __init__(self, desk: QuickDesk, call: Call, place: _Place, found: _Found) -> None:
        """Wait from now on."""
        super().__init__(found.inputs, found.deadline, call.began)
        self.desk = desk
        self.call = call
        self.place = place
        self.found = found
        self.share: Share
        self.settle = desk.settle
        self._is_done = False

    @property
    def is_done(self) -> bool:
        """Return whether it was answered, failed, or its client has gone."""
        return self._is_done

    def answer(self, share: Share) -> None:
        """Take the answer; the reply is written with those of the whole run."""
        self._is_done = True
        self.share = share
        self.desk.answered.append(self)

    def fail(self, error: BaseException) -> None:
        """Have the error replied, or have it asked again where the text of its rows must be read."""
        self._is_done = True
        self.desk.fail(self, error)

    def gone(self) -> None:
        """Give up, unless the answer is there: nobody waits for it any more."""
        if not self._is_done:
            self.fail(ClientGone())


class QuickDesk:
    """The handlers of the lane for predictions. Used from one event loop."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Ask the models of ``pipeline``."""
        self.answered: list[QuickAsk] = []
        self._pipeline = pipeline
        self._places: dict[Head, _Place] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def handler(self, form: Form) -> LaneHandler:
        """Return the handler of requests that have this form."""
        return partial(self.take, form)

    def forget(self) -> None:
        """Let go of what was found out about heads; called when the configuration changes."""
        self._places.clear()

    def take(self, form: Form, call: Call) -> bool:
        """Put a request into the queue of its version, or run it at once; False leaves it to the long way."""
        pipeline = self._pipeline
        try:
            place = self._place(form, call)
            if place is None:
                return False
            found = self._find(form, call, place)
        except Exception:  # noqa: BLE001 - what it is refused for, or what is wrong here, the long way says
            return False
        if found is None:
            return False
        ask = QuickAsk(self, call, place, found)
        pipeline.budget.held += call.head.length
        place.compiled.enter()
        found.model.live.running += 1
        call.on_gone = ask.gone
        batcher = found.route.version.batcher
        try:
            share = batcher.run_now(found.inputs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            ask.fail(error)
            return True
        if share is None:
            batcher.enqueue(ask)
        else:
            ask.answer(share)
            self.settle()
        return True

    def settle(self) -> None:
        """Reply to everybody whose answer has come, and tell of them."""
        asks, self.answered = self.answered, []
        now = time.monotonic()
        at_us = time.time_ns() // 1_000
        ids = new_ids("prd", sum([ask.rows for ask in asks]))
        start = 0
        for ask, request_id in zip(asks, new_ids("req", len(asks)), strict=True):
            stop = start + ask.rows
            found = ask.found
            answer = Answer(found.route, found.inputs, ask.share, ids[start:stop], None)
            start = stop
            try:
                self._reply(ask, answer, request_id, now)
            except Exception as error:  # noqa: BLE001 - the others of the run must have their replies
                self.fail(ask, error)
                continue
            try:
                self._tell(ask, answer, request_id, now, at_us)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("prediction_not_told", model=found.model.spec.name, request_id=request_id)
            self._release(ask)

    def fail(self, ask: QuickAsk, error: BaseException) -> None:
        """Reply with what went wrong."""
        if isinstance(error, Doubtful):
            task = asyncio.get_running_loop().create_task(self._ask_again(ask))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        found = ask.found
        failure = error if isinstance(error, Exception) else HeadwaterError("internal")
        self._pipeline.failed(found.model, found.route, failure, found.inputs, ask.call.began)
        self._refuse(ask, failure, new_id("req"))

    def _place(self, form: Form, call: Call) -> _Place | None:
        """Return what a head comes to, None for one that is not for the lane; raises as the pipeline does."""
        pipeline, head = self._pipeline, call.head
        # Asked each time: a key may be right at times, and in places.
        caller = authenticate(pipeline.runtime, {"headers": head.identity, "client": call.client, CONTEXT: _NAMELESS})
        place = self._places.get(head)
        if place is not None and place.caller is caller:
            return place
        if not form.suits(head):
            return None
        name = head.parameters["model"]
        find_model(caller, pipeline.service, name, "model.invoke")
        compiled = caller.environment.compiled[pipeline.service]
        place = _Place(caller, compiled, name, head.parameters.get("version"))
        if len(self._places) >= MAX_HEADS:
            self._places.clear()
        self._places[head] = place
        return place

    def _find(self, form: Form, call: Call, place: _Place) -> _Found | None:
        """Return what is to be run, None where the lane cannot; raises as the pipeline does."""
        pipeline = self._pipeline
        deadline = read_deadline(call.head.headers)
        model = place.compiled.models[place.name]
        pipeline.budget.check(call.head.length)
        pipeline.check_concurrency(model)
        serving = model.spec.serving
        if model.overriding is not None or (serving.log.on_full == "block" and pipeline.observer.is_full):
            return None
        if place.pinned is not None:
            route = pin(place.caller, model, place.pinned)
        elif serving.sticky_input is not None and len(model.table.routes) > 1:
            return None
        else:
            route = model.choose(call.body)
        version = route.version
        if version.cache is not None or (deadline is not None and version.is_async):
            return None
        pipeline.check_queue(version, deadline)
        found = form.read(model, version, call)
        if found is None or not 0 < len(found[0]) <= version.serving.max_batch_rows:
            return None
        return _Found(model, route, deadline, form, *found)

    def _reply(self, ask: QuickAsk, answer: Answer, request_id: str, now: float) -> None:
        lines, body = ask.found.form.write(answer, ask.found.read)
        ask.call.reply(lines, body, request_id=request_id, caller=ask.place.caller, now=now)

    def _tell(self, ask: QuickAsk, answer: Answer, request_id: str, now: float, at_us: int) -> None:
        """Do as ``Pipeline.tell``, with the clocks of the run."""
        pipeline, model, route = self._pipeline, ask.found.model, answer.route
        seconds = now - ask.call.began
        pipeline.count(model, route.version, now, seconds, len(answer.ids))
        latency_us = int(seconds * 1e6)
        pipeline.observer.add(
            Entry(route.version, ask.place.caller, request_id, route.name, answer.ids, answer.share, at_us, latency_us)
        )
        if model.shadows and pipeline.shadows.are_due(model, route.version, answer.ids[0]):
            pipeline.shadows.see(_asked(ask, request_id), answer, ask.found.form.reader(ask.call, ask.found.read))

    async def _ask_again(self, ask: QuickAsk) -> None:
        """Ask the whole pipeline, which holds large numbers against their text."""
        request_id = new_id("req")
        asked = _asked(ask, request_id)
        reader = ask.found.form.reader(ask.call, ask.found.read)
        live = ask.found.model.live
        live.running -= 1  # the pipeline counts it
        try:
            try:
                answer = await self._pipeline.ask(asked, reader)
            finally:
                live.running += 1
            self._reply(ask, answer, request_id, time.monotonic())
            self._pipeline.tell(asked, answer, reader)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer, unless that was given
            self._refuse(ask, error, request_id)
        else:
            self._release(ask)

    def _refuse(self, ask: QuickAsk, error: Exception, request_id: str) -> None:
        call, caller = ask.call, ask.place.caller
        status, lines, body = _NO_STATUS, b"", b""
        if not isinstance(error, ClientGone):
            scope = {"method": call.head.method, "path": call.head.path, CONTEXT: RequestContext(request_id)}
            known = error if isinstance(error, HeadwaterError) else internal_error(scope, error)
            status, headers, body = ask.found.form.refuse(known, call.head.path, request_id)
            lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if not call.response_complete:
            call.reply(lines, body, request_id=request_id, caller=caller, now=time.monotonic(), status=status)
        self._release(ask)

    def _release(self, ask: QuickAsk) -> None:
        ask.call.on_gone = None
        ask.call.body = b""  # an idle connection keeps its last call
        self._pipeline.budget.held -= ask.call.head.length
        ask.found.model.live.running -= 1
        ask.place.compiled.leave()


def _asked(ask: QuickAsk, request_id: str) -> Asked:
    """Return a request of the lane as the pipeline knows requests."""
    caller, compiled, _name, pinned = ask.place
    route = ask.found.route if pinned is not None else None
    headers, began = ask.call.head.headers, ask.call.began
    return Asked(
        caller, compiled, ask.found.model, None, headers, request_id, began, ask.deadline, route, ask.call.body
    )
