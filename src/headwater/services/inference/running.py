"""Running the rows of one request: at once or queued, in parts where they are many, while anybody waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from headwater.services.inference.asking import Reader
from headwater.services.inference.batch import Batch, Doubtful, Inputs, Share
from headwater.services.inference.bodies import ClientGone, Receive
from headwater.services.inference.queueing import too_late
from headwater.services.inference.version import ServedVersion

_WATCH_AFTER_SECONDS: Final = 0.02  # a reply that takes longer is worth asking whether anybody waits for it


async def predict(
    version: ServedVersion, inputs: Inputs, reader: Reader, deadline: float | None, receive: Receive | None
) -> Share:
    """Return what a version says to these rows.

    Args:
        version: the model.
        inputs: its rows; where their numbers are in doubt, what ``reader`` reads exactly takes their place.
        reader: the request's body.
        deadline: instant of ``time.monotonic`` after which nobody waits.
        receive: the request's channel, watched for the client's leaving; None for a request that was answered already.

    Raises:
        HeadwaterError: what is wrong with the rows, or with the model.
        ClientGone: nobody waits any more.
    """
    try:
        return await _submit(version, inputs, deadline, receive)
    except Doubtful:
        exact = await reader.reread(version)
        inputs.rows, inputs.faults, inputs.features, inputs.is_exact = exact.rows, exact.faults, exact.features, True
        return await _submit(version, inputs, deadline, receive)


async def _submit(version: ServedVersion, inputs: Inputs, deadline: float | None, receive: Receive | None) -> Share:
    most = version.serving.max_batch_rows
    count = len(inputs)
    if count > most:
        return await _in_parts(version, inputs, most, deadline, receive)
    if not count:
        return Share(Batch((), None, [np.empty(0) for _ in version.spec.outputs]), 0, 0)
    batcher = version.batcher
    share = batcher.run_now(inputs)
    if share is not None:
        return share
    is_soon = not version.is_async and batcher.wait_seconds() < _WATCH_AFTER_SECONDS
    future = batcher.submit(inputs, deadline=deadline)
    if is_soon or receive is None:
        return await future
    watch = asyncio.get_running_loop().call_later(_WATCH_AFTER_SECONDS, _watch, future, receive)
    try:
        return await future
    finally:
        watch.cancel()


async def _in_parts(
    version: ServedVersion, inputs: Inputs, most: int, deadline: float | None, receive: Receive | None
) -> Share:
    """Run a table larger than a batch part by part, so that others have their turn in between."""
    shares: list[Share] = []
    for start in range(0, len(inputs), most):
        if deadline is not None and time.monotonic() > deadline:
            raise too_late()
        rows = inputs.rows[start : start + most]
        matrix = None if inputs.matrix is None else inputs.matrix[start : start + most]
        part = Inputs(rows, matrix, is_exact=inputs.is_exact)
        shares.append(await _submit(version, part, deadline, receive))
        await asyncio.sleep(0)
    return _joined(inputs, shares)


def _joined(inputs: Inputs, shares: Sequence[Share]) -> Share:
    outputs = [
        np.concatenate([share.batch.outputs[at][share.start : share.stop] for share in shares])
        for at in range(len(shares[0].batch.outputs))
    ]
    return Share(Batch(inputs.rows, inputs.matrix, outputs), 0, len(inputs))


def _watch(future: asyncio.Future[Share], receive: Receive) -> None:
    """Give up on an answer once its client has gone; what is queued for it will not run then."""

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not future.done():
            future.set_exception(ClientGone())

    if not future.done():
        task = asyncio.get_running_loop().create_task(listen())
        future.add_done_callback(lambda _future: task.cancel())
