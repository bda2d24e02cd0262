"""An ``AsyncExecutor`` that asks another server. It never waits for a server that keeps failing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
import orjson
from numpy.typing import NDArray

from headwater.contracts.model import Field
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.models.isolated.job import OutputJob
from headwater.engines.models.manifest_document import RemoteOptions
from headwater.engines.models.native.outputs import OutputPicker
from headwater.engines.models.native.protocol import misfit
from headwater.engines.models.remote.addresses import GuardedAsyncTransport, GuardedTransport
from headwater.engines.models.remote.binding import InputBinding, Tensor, output_sources
from headwater.engines.models.remote.breaker import CircuitBreaker
from headwater.engines.models.remote.codec import (
    HEADER_LENGTH,
    UnreadableReply,
    decode_reply,
    encode_request,
    error_text,
)
from headwater.engines.models.remote.replies import PLAIN, Reply, ReplyReader
from headwater.engines.models.samples import SampleRows

DEPTH: Final = 16
_METADATA_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 5.0
_BINARY: Final = "binary_tensor_data"
_BUSY: Final = frozenset({429, 502, 503, 504})
_ERROR: Final = 400
_RETRY_SECONDS: Final = 5
#: Variables with this prefix hold secrets of ours, such as the database's address.
_OURS: Final = "HEADWATER_"


class RemoteExecutor:
    """Runs one version on a server of the Open Inference Protocol. Made in a thread, used from one event loop."""

    depth = DEPTH

    def __init__(
        self,
        spec: ModelVersionSpec,
        fields: Sequence[Field],
        *,
        networks: tuple[str, ...] = (),
        variables: tuple[str, ...] = (),
        reply_bytes: int = 64 << 20,
    ) -> None:
        """Ask the server what it has and try it on a row.

        ``networks`` are private ones that it may lie in, ``variables`` those of the environment that it may be sent,
        ``reply_bytes`` is what one reply of it may weigh.

        Raises:
            HeadwaterError: ``model_unavailable`` when the server does not answer, or its model does not fit.
        """
        options = RemoteOptions.model_validate(spec.options)
        self.output_names = tuple(output.name for output in spec.outputs)
        base = options.url.rstrip("/").removesuffix("/v2")
        version = f"/versions/{options.version}" if options.version else ""
        self._model_url = f"{base}/v2/models/{options.model}{version}"
        self._server = base
        self._headers = PLAIN | _headers(options, variables)
        self._replies = ReplyReader(reply_bytes)
        self._timeout = httpx.Timeout(spec.timeout_seconds, connect=min(spec.timeout_seconds, _CONNECT_SECONDS))
        self._timeout_seconds = spec.timeout_seconds
        self._breaker = CircuitBreaker(time.monotonic)
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        self._networks = networks
        transport = GuardedTransport(networks)
        with httpx.Client(headers=self._headers, timeout=_METADATA_SECONDS, transport=transport) as client:
            self._bind(client, spec, fields, options.binary)
        self.takes_matrix = self._inputs.takes_matrix
        self.dtype = self._inputs.dtype
        self.limits: Sequence[float] = self._inputs.limits

    @property
    def fault(self) -> str | None:
        """Return why the server is left alone for now, None while it is asked."""
        return self._breaker.reason if self._breaker.seconds_left else None

    async def run_matrix(self, matrix: NDArray[Any]) -> list[NDArray[Any]]:
        """Return one array for each output, its first axis the rows of ``matrix``."""
        return await self._run(self._inputs.matrix(matrix), len(matrix))

    async def run_columns(self, columns: Sequence[Sequence[Any]]) -> list[NDArray[Any]]:
        """Return the outputs for values given by field in signature order."""
        return await self._run(self._inputs.columns(columns), len(columns[0]))

    def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is None or self._loop is None or self._loop.is_closed():
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(client.aclose()))

    async def _run(self, tensors: Sequence[Tensor], rows: int) -> list[NDArray[Any]]:
        if self._is_closed:
            raise HeadwaterError("model_unavailable", "the version is not served any more", retry_after_seconds=1)
        if not self._breaker.lets_through():
            raise self._unavailable(f"{self._breaker.reason}; it is left alone for a while", self._breaker.seconds_left)
        body, headers = encode_request(tensors, self._picker.sources, binary=self._is_binary)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                reply = await self._post(body, headers)
        except (httpx.TimeoutException, TimeoutError) as error:
            self._breaker.failed(f"{self._server} did not answer in time")
            raise HeadwaterError(
                "model_timeout",
                f"{self._server} did not answer within {self._timeout_seconds:g} s",
                hint="raise resources.timeout_seconds, or look after that server",
            ) from error
        except httpx.HTTPError as error:
            reason = f"{self._server} cannot be reached: {error or type(error).__name__}"
            self._breaker.failed(reason)
            raise self._unavailable(reason) from error
        except HeadwaterError as error:
            if error.code == "model_failed":
                self._breaker.succeeded()  # it is there, however much it says
            raise
        return self._read(reply, rows)

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Ask once, and once more when the connection broke: predictions change nothing."""
        client = self._client
        if client is None:
            transport = GuardedAsyncTransport(self._networks, connections=DEPTH)
            client = self._client = httpx.AsyncClient(headers=self._headers, timeout=self._timeout, transport=transport)
            self._loop = asyncio.get_running_loop()
        url = f"{self._model_url}/infer"
        try:
            return await self._replies.ask_async(client, "POST", url, content=body, headers=dict(headers))
        except (httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError):
            return await self._replies.ask_async(client, "POST", url, content=body, headers=dict(headers))

    def _read(self, reply: Reply, rows: int) -> list[NDArray[Any]]:
        if reply.status_code in _BUSY:
            reason = f"{self._server} answered {reply.status_code}: {error_text(reply.content)}"
            self._breaker.failed(reason)
            after = reply.headers.get("retry-after", "")
            raise self._unavailable(reason, float(after) if after.isdigit() else 1.0)
        self._breaker.succeeded()  # it is there, whatever it thinks of the request
        if reply.status_code >= _ERROR:
            raise HeadwaterError(
                "model_failed", f"{self._server} answered {reply.status_code}: {error_text(reply.content)}"
            )
        try:
            answers = decode_reply(reply.content, reply.headers.get(HEADER_LENGTH))
        except UnreadableReply as error:
            raise HeadwaterError("model_failed", f"{self._server} answered what cannot be read: {error}") from error
        return self._picker.pick(answers, rows)

    def _unavailable(self, reason: str, seconds: float = 1.0) -> HeadwaterError:
        return HeadwaterError("model_unavailable", reason, retry_after_seconds=max(1, round(seconds)))

    def _bind(self, client: httpx.Client, spec: ModelVersionSpec, fields: Sequence[Field], binary: bool | None) -> None:
        metadata = self._get(client, self._model_url)
        self._inputs = InputBinding(fields, metadata.get("inputs") or [])
        outputs = [
            OutputJob(output.name, output.type, output.shape, output.source, output.index) for output in spec.outputs
        ]
        described = metadata.get("outputs") or []
        default = output_sources(described, [(output.name, output.source) for output in outputs])
        self._picker = OutputPicker(outputs, default)
        self._is_binary = (
            _BINARY in (self._get(client, f"{self._server}/v2").get("extensions") or []) if binary is None else binary
        )
        self._try(client, SampleRows(fields, spec.examples))

    def _try(self, client: httpx.Client, samples: SampleRows) -> None:
        """Run one row: what does not fit shows now."""
        inputs = self._inputs
        tensors = (
            inputs.matrix(samples.matrix(1, inputs.dtype))
            if inputs.takes_matrix
            else inputs.columns(samples.columns(1))
        )
        body, headers = encode_request(tensors, self._picker.sources, binary=self._is_binary)
        try:
            url = f"{self._model_url}/infer"
            reply = self._replies.ask(
                client, "POST", url, seconds=self._timeout_seconds, content=body, headers=headers, timeout=self._timeout
            )
            self._read(reply, 1)
        except httpx.HTTPError as error:
            raise _no_answer(self._server, error) from error
        except HeadwaterError as error:
            if error.code == "model_failed":
                hint = error.hint or "give examples that it takes, or mend the signature"
                raise misfit(error.detail, hint) from error
            raise

    def _get(self, client: httpx.Client, url: str) -> dict[str, Any]:
        try:
            reply = self._replies.ask(client, "GET", url, seconds=_METADATA_SECONDS)
        except httpx.HTTPError as error:
            raise _no_answer(url, error) from error
        except HeadwaterError as error:
            if error.code == "model_failed":
                raise misfit(error.detail, error.hint or "mend options.url") from error
            raise
        if reply.status_code >= _ERROR:
            raise HeadwaterError(
                "model_unavailable",
                f"GET {url} answered {reply.status_code}: {error_text(reply.content)}",
                hint="mend options.url, options.model or options.headers_from_env",
                retry_after_seconds=_RETRY_SECONDS,
            )
        try:
            document = orjson.loads(reply.content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise HeadwaterError("model_unavailable", f"GET {url} answered no JSON object", hint="mend options.url")
        return document


def _headers(options: RemoteOptions, allowed: tuple[str, ...]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for header, variable in options.headers_from_env.items():
        if variable.upper().startswith(_OURS):
            raise HeadwaterError(
                "model_unavailable",
                f"the header {header} would carry {variable}, which is a setting of Headwater",
                hint="keep what other servers are told in a variable of its own",
            )
        if variable not in allowed:
            raise HeadwaterError(
                "model_unavailable",
                f"the header {header} would carry the environment variable {variable}, which models may not send",
                hint="let the operator name it in inference.remote_variables",
            )
        value = os.environ.get(variable)
        if value is None:
            raise HeadwaterError(
                "model_unavailable",
                f"the header {header} comes from the environment variable {variable}, which is not set",
                hint="set it where the services run",
            )
        headers[header] = value
    return headers


def _no_answer(url: str, error: httpx.HTTPError) -> HeadwaterError:
    return HeadwaterError(
        "model_unavailable",
        f"{url} does not answer: {error or type(error).__name__}",
        hint="start that server, or mend options.url",
        retry_after_seconds=_RETRY_SECONDS,
    )
