"""The forms in which the fast lane reads requests and writes replies: our own JSON, and tensors of the V2 protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from headwater.core.errors import HeadwaterError
from headwater.services.inference import arrow
from headwater.services.inference.asking import Answer, Reader
from headwater.services.inference.batch import Inputs
from headwater.services.inference.models import ServedModel
from headwater.services.inference.oip import JSON_LENGTH, error_reply, infer_reply
from headwater.services.inference.oip_codec import InferRequest, read_request
from headwater.services.inference.oip_tensors import TensorReader
from headwater.services.inference.readers import JsonReader, has_entities
from headwater.services.inference.version import ServedVersion
from headwater.services.kit.fast_lane import Call, Head
from headwater.services.kit.problem import problem_body, problem_headers

_JSON: Final = b"content-type: application/json\r\n"
_BINARY: Final = b"content-type: application/octet-stream\r\ninference-header-content-length: %d\r\n"
_COMPRESSED: Final = frozenset({b"gzip", b"deflate"})


class Form(Protocol):
    """How requests are read and replies written. What ``read`` returns beside the rows goes back to the others."""

    def suits(self, head: Head) -> bool:
        """Return whether requests with this head can be read and answered here."""
        ...

    def read(self, model: ServedModel, version: ServedVersion, call: Call) -> tuple[Inputs, Any] | None:
        """Return the rows of a request and whatever else it says.

        None, like a ``HeadwaterError``, leaves it to the long way.
        """
        ...

    def reader(self, call: Call, read: Any) -> Reader:
        """Return what reads the request for other versions."""
        ...

    def write(self, answer: Answer, read: Any) -> tuple[bytes, bytes]:
        """Return the lines of a reply's headers, but for the length, and its body."""
        ...

    def refuse(
        self, error: HeadwaterError, path: str, request_id: str
    ) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
        """Return status, headers and body of the reply to a request that failed."""
        ...


class JsonForm:
    """``{"rows": …}`` and ``{"inputs": …}``."""

    def suits(self, head: Head) -> bool:
        """Return whether neither the request nor its reply is Arrow."""
        kind, accepted = head.headers.get(b"content-type", b""), head.headers.get(b"accept")
        return not kind.startswith(arrow.MEDIA_TYPE) and accepted != arrow.MEDIA_TYPE

    def read(self, model: ServedModel, version: ServedVersion, call: Call) -> tuple[Inputs, Any] | None:
        """Return the rows, unless only the contract can tell whether they are right, or features are to be fetched."""
        if model.takes_entities and has_entities(call.body):
            return None
        rows = version.signature.read_quickly(call.body)
        return None if rows is None else (Inputs(rows), None)

    def reader(self, call: Call, read: Any) -> Reader:
        """Return what reads the request for other versions."""
        del read
        return JsonReader(call.body)

    def write(self, answer: Answer, read: Any) -> tuple[bytes, bytes]:
        """Return a reply."""
        del read
        return _JSON, answer.route.version.replies.write(answer.route.name, answer.ids, answer.share)

    def refuse(
        self, error: HeadwaterError, path: str, request_id: str
    ) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
        """Return a problem document."""
        return error.status, problem_headers(error), problem_body(error, instance=path, request_id=request_id)


class TensorForm:
    """Tensors of the Open Inference Protocol, in JSON or in bytes behind it."""

    def suits(self, head: Head) -> bool:
        """Return whether the reply is not to be compressed."""
        return head.headers.get(b"accept-encoding", b"").strip().lower() not in _COMPRESSED

    def read(self, model: ServedModel, version: ServedVersion, call: Call) -> tuple[Inputs, Any] | None:
        """Return the rows and the request, unless it has a deadline of its own or is large."""
        del model
        request = read_request(call.body, call.head.headers.get(JSON_LENGTH))
        if "timeout" in request.parameters:
            return None
        inputs = TensorReader(request).read_now(version)
        return None if inputs is None else (inputs, request)

    def reader(self, call: Call, read: InferRequest) -> Reader:
        """Return what reads the request for other versions."""
        del call
        return TensorReader(read)

    def write(self, answer: Answer, read: InferRequest) -> tuple[bytes, bytes]:
        """Return a reply."""
        body, length = infer_reply(answer, read)
        return _JSON if length is None else _BINARY % length, body

    def refuse(
        self, error: HeadwaterError, path: str, request_id: str
    ) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
        """Return an error of the protocol."""
        del path, request_id
        return error_reply(error)
