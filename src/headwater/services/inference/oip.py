"""The Open Inference Protocol, version 2, over HTTP: errors are ``{"error": …}``, client mistakes are 400."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson

import headwater
from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.services.inference.asking import Answer, Asked
from headwater.services.inference.bodies import Body, ClientGone
from headwater.services.inference.handler import Receive, Send
from headwater.services.inference.models import CompiledModels, ServedModel
from headwater.services.inference.oip_codec import InferRequest, read_request, write_reply
from headwater.services.inference.oip_tensors import MATRIX, TensorReader
from headwater.services.inference.pipeline import Pipeline, find_model, pin
from headwater.services.inference.version import ServedVersion
from headwater.services.kit.problem import internal_error
from headwater.services.kit.request import authenticate
from headwater.services.kit.service import ASGIScope, Caller, Runtime

JSON_LENGTH: Final = b"inference-header-content-length"
_EXTENSIONS: Final = ["binary_tensor_data", "model_repository"]
_JSON: Final = (b"content-type", b"application/json")
_BINARY: Final = (b"content-type", b"application/octet-stream")
_THREAD_FROM_BYTES: Final = 1 << 20
_DATATYPES: Final = {
    LogicalType.NUMBER: "FP64",
    LogicalType.INTEGER: "INT64",
    LogicalType.BOOLEAN: "BOOL",
    LogicalType.STRING: "BYTES",
}
_OUTPUT_DATATYPES: Final = {"number": "FP32", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}


class OipHandler:
    """Every route below ``/v2``, as raw ASGI."""

    def __init__(self, runtime: Runtime, pipeline: Pipeline, service: str) -> None:
        """Ask the models that ``service`` compiled, by ``pipeline``."""
        self._runtime = runtime
        self._pipeline = pipeline
        self._service = service

    async def infer(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer ``POST /v2/models/{model}[/versions/{version}]/infer``."""
        try:
            await self._infer(scope, receive, send)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - this is where errors get the protocol's form
            await send_error(scope, send, error)

    async def describe(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Answer every ``GET``, and the repository's ``POST``."""
        del receive
        try:
            status, document = HTTPStatus.OK, self._document(scope)
        except Exception as error:  # noqa: BLE001 - as above
            await send_error(scope, send, error)
            return
        body = b"" if document is None else orjson.dumps(document)
        await _send(send, status, [_JSON], body)

    async def _infer(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        pipeline = self._pipeline
        asked = pipeline.begin(scope, receive)
        body = Body(pipeline.budget)
        asked.compiled.enter()
        try:
            headers = asked.headers
            read = await body.read(scope, receive, headers.get(b"content-length"), pipeline.stall_seconds)
            encoding = headers.get(b"content-encoding")
            asked.body = read if encoding is None else body.expand(read, encoding)
            asked.began = time.monotonic()
            json_length = headers.get(JSON_LENGTH)
            if len(asked.body) > _THREAD_FROM_BYTES:
                request = await asyncio.to_thread(read_request, asked.body, json_length)
            else:
                request = read_request(asked.body, json_length)
            _take_timeout(asked, request)
            reader = TensorReader(request)
            answer = await pipeline.ask(asked, reader)
            reply, length = infer_reply(answer, request)
            head = [_JSON if length is None else _BINARY]
            if length is not None:
                head.append((JSON_LENGTH, b"%d" % length))
            if answer.cache is not None:
                head.append((b"hw-cache", answer.cache.encode()))
            reply = await _compress(headers.get(b"accept-encoding"), reply, head)
            await _send(send, HTTPStatus.OK, head, reply)
            pipeline.tell(asked, answer, reader)
        finally:
            body.close()
            asked.compiled.leave()

    def _document(self, scope: ASGIScope) -> Any:
        """Return what a path describes; None is an empty answer."""
        match scope["path"].strip("/").split("/")[1:]:
            case []:
                return {"name": "headwater", "version": headwater.__version__, "extensions": _EXTENSIONS}
            case ["health", "live"]:
                return None
            case ["health", "ready"]:
                if not self._runtime.environments:
                    raise HeadwaterError("config_unavailable", "no configuration was loaded yet", retry_after_seconds=1)
                return None
            case path:
                return self._own_document(authenticate(self._runtime, scope), scope, path)

    def _own_document(self, caller: Caller, scope: ASGIScope, path: Sequence[str]) -> Any:
        """Return what only those with a key may know."""
        match path:
            case ["repository", "index"]:
                return self._index(caller)
            case ["repository", "models", _model, "load" | "unload"]:
                raise HeadwaterError(
                    "method_not_allowed",
                    "models are loaded and unloaded by configuration alone",
                    hint="push or promote a version: headwater models --help",
                )
            case ["models", model, *more]:
                return self._model_document(caller, scope, model, more)
            case _:
                raise _nothing_at(scope)

    def _model_document(self, caller: Caller, scope: ASGIScope, name: str, more: Sequence[str]) -> Any:
        match more:
            case [] | ["ready"]:
                model, served = self._find(caller, name, None)
            case ["versions", version] | ["versions", version, "ready"]:
                model, served = self._find(caller, name, version)
            case _:
                raise _nothing_at(scope)
        if more[-1:] != ["ready"]:
            return describe(model, served)
        if served.fault is not None:
            raise HeadwaterError("model_unavailable", served.fault, retry_after_seconds=1)
        return None

    def _index(self, caller: Caller) -> list[dict[str, Any]]:
        compiled: CompiledModels = caller.environment.compiled[self._service]
        found: list[dict[str, Any]] = []
        for name, model in sorted(compiled.models.items()):
            if not any(caller.key.can(permission, name) for permission in ("model.read", "model.invoke")):
                continue
            for number in sorted({*model.versions, *model.faults}):
                reason = model.faults.get(number) or model.versions[number].fault or ""
                state = "UNAVAILABLE" if reason else "READY"
                found.append({"name": name, "version": str(number), "state": state, "reason": reason})
        return found

    def _find(self, caller: Caller, name: str, version: str | None) -> tuple[ServedModel, ServedVersion]:
        permission = "model.read" if caller.key.can("model.read", name) else "model.invoke"
        model = find_model(caller, self._service, name, permission)
        route = pin(caller, model, version) if version is not None else None
        if route is None and not model.table.routes:
            raise model.unavailable(None)
        return model, (route or model.table.routes[0]).version


def describe(model: ServedModel, version: ServedVersion) -> dict[str, Any]:
    """Return the protocol's metadata of a model: one tensor for each input, or all of them as one matrix."""
    fields = version.signature.contract.fields
    document: dict[str, Any] = {
        "name": model.spec.name,
        "versions": [str(number) for number in sorted(model.versions)],
        "platform": f"headwater_{version.spec.framework}",
        "inputs": [_describe_field(field) for field in fields],
        "outputs": [
            {
                "name": output.name,
                "datatype": _OUTPUT_DATATYPES[output.type],
                "shape": [-1, *output.shape],
            }
            for output in version.spec.outputs
        ],
    }
    if version.tables.is_numeric and MATRIX not in version.signature.names:
        document["parameters"] = {"matrix_input": MATRIX, "matrix_columns": len(fields)}
    return document


async def send_error(scope: ASGIScope, send: Send, error: Exception) -> None:
    """Answer with the protocol's error."""
    known = error if isinstance(error, HeadwaterError) else internal_error(scope, error)
    await _send(send, *error_reply(known))


def error_reply(error: HeadwaterError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Return the protocol's error: its status is ours, except that every mistake in the body is 400."""
    status = HTTPStatus.BAD_REQUEST if error.status == HTTPStatus.UNPROCESSABLE_ENTITY else HTTPStatus(error.status)
    headers = [_JSON]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", str(error.retry_after_seconds).encode()))
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b'Bearer realm="headwater"'))
    return status, headers, orjson.dumps({"error": _sentence(error)})


def _sentence(error: HeadwaterError) -> str:
    """Return what is wrong, with the first bad rows by tensor and row."""
    found: Sequence[Mapping[str, Any]] = error.extra.get("errors", ()) if error.code == "input_invalid" else ()
    if not found:
        return error.detail + (f" ({error.hint})" if error.hint else "")
    first = [
        f"input {item['path'].lstrip('/')!r} row {row['row']}: {item['message']}"
        for row in found[:3]
        for item in row["errors"][:3]
    ]
    total = error.extra.get("errors_total", len(found))
    return "; ".join(first) + (f"; {total} rows are bad" if total > 1 else "")


def infer_reply(answer: Answer, request: InferRequest) -> tuple[bytes, int | None]:
    """Return the body of a reply and, where bytes follow its JSON, the length of that."""
    version = answer.route.version
    share = answer.share
    if request.outputs is None and request.id is None and not request.is_binary and answer.overridden is None:
        text = version.tensor_replies.write(answer.route.name, answer.ids, share)
        if text is not None:
            return text, None
    by_name = {
        output.name: values[share.start : share.stop]
        for output, values in zip(version.spec.outputs, share.batch.outputs, strict=True)
    }
    wanted = request.outputs or [(name, request.is_binary) for name in by_name]
    head: dict[str, Any] = {"model_name": version.model, "model_version": str(version.number)}
    if request.id is not None:
        head["id"] = request.id
    head["parameters"] = {"route": answer.route_name, "prediction_ids": ",".join(answer.ids)}
    if answer.overridden is not None:
        # The protocol's parameters are texts, numbers and booleans.
        head["parameters"]["overrides"] = orjson.dumps(answer.overridden.provenance(answer.ids)).decode()
    return write_reply(head, [(name, by_name[name], is_binary) for name, is_binary in wanted])


def _take_timeout(asked: Asked, request: InferRequest) -> None:
    """Take the protocol's own deadline, in microseconds, where the header gives none."""
    timeout = request.parameters.get("timeout")
    if timeout is None or asked.deadline is not None:
        return
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise HeadwaterError("input_invalid", "the parameter 'timeout' must be a number of microseconds")
    if timeout:
        asked.deadline = time.monotonic() + timeout / 1e6


async def _compress(accepted: bytes | None, reply: bytes, head: list[tuple[bytes, bytes]]) -> bytes:
    """Compress a reply for who accepts one coding alone, as this protocol's clients ask for it."""
    coding = (accepted or b"").strip().lower()
    if coding not in {b"gzip", b"deflate"}:
        return reply
    head.append((b"content-encoding", coding))
    compress = gzip.compress if coding == b"gzip" else zlib.compress
    return compress(reply, 1) if len(reply) < _THREAD_FROM_BYTES else await asyncio.to_thread(compress, reply, 1)


async def _send(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": int(status),
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _nothing_at(scope: ASGIScope) -> HeadwaterError:
    return HeadwaterError("not_found", f"there is nothing at {scope['path'][:200]}")


def _describe_field(field: Field) -> dict[str, Any]:
    return {"name": field.name, "datatype": _DATATYPES[field.type], "shape": [-1]}
