"""The JSON replies of one version, from templates made once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from headwater.core.snapshot import OutputSpec
from headwater.services.inference.batch import Share
from headwater.services.inference.faults import input_invalid
from headwater.services.inference.oip_values import datatype_of

_NULL_WARNING: Final = b'"an output is not a finite number and is shown as null"'


class JsonReplies:
    """Writes the replies of a version."""

    def __init__(self, model: str, number: int, outputs: Sequence[OutputSpec]) -> None:
        """Make the templates."""
        members = ",".join(json.dumps(output.name).replace("%", "%%") + ":%b" for output in outputs)
        self._prediction = ('{"id":"%b","outputs":{' + members + "}}").encode()
        self._head = f'{{"model":{json.dumps(model)},"version":{number},"route":"'.encode()

    def write(
        self,
        route: str,
        ids: Sequence[str],
        share: Share,
        *,
        faults: Mapping[int, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        warnings: Sequence[str] = (),
    ) -> bytes:
        """Return the text of a reply.

        Args:
            route: why this version answers.
            ids: an identifier for each prediction.
            share: the outputs.
            faults: rows that are answered with null, by number.
            extra: further members.
            warnings: what there is to say about the rows.
        """
        batch = share.batch
        if share.stop - share.start == 1 and not faults and not extra and not warnings:
            return self._single(route, ids[0], share)
        columns = [column[share.start : share.stop] for column in batch.texts]
        predictions = [
            self._prediction % values for values in zip([name.encode() for name in ids], *columns, strict=True)
        ]
        texts = [orjson.dumps(warning) for warning in warnings]
        if batch.has_nulls and not batch.is_finite(share.start, share.stop):
            texts.append(_NULL_WARNING)
        tail = b""
        if faults:
            for row in sorted(faults):
                predictions.insert(row, b"null")
            texts.append(orjson.dumps(f"{len(faults)} of {len(predictions)} rows are bad and answered with null"))
            tail = b"," + orjson.dumps(input_invalid(faults).extra)[1:-1]
        if extra:
            tail += b"," + orjson.dumps(extra, option=orjson.OPT_NON_STR_KEYS)[1:-1]
        return b'%b%b","predictions":[%b],"warnings":[%b]%b}' % (
            self._head,
            route.encode(),
            b",".join(predictions),
            b",".join(texts),
            tail,
        )

    def _single(self, route: str, name: str, share: Share) -> bytes:
        """Return the text of a reply to one row."""
        at = share.start
        # The texts first: nulls are known once they are there.
        prediction = self._prediction % (name.encode(), *[texts[at] for texts in share.batch.texts])
        has_nulls = share.batch.has_nulls and not share.batch.is_finite(at, at + 1)
        return b'%b%b","predictions":[%b],"warnings":[%b]}' % (
            self._head,
            route.encode(),
            prediction,
            _NULL_WARNING if has_nulls else b"",
        )


class TensorReplies:
    """Writes the replies that clients of the Open Inference Protocol ask for most: every output, in JSON."""

    def __init__(self, model: str, number: int, outputs: Sequence[OutputSpec]) -> None:
        """Make the templates."""
        self._head = (
            f'{{"model_name":{json.dumps(model)},"model_version":"{number}","parameters":{{"route":"%b",'
            '"prediction_ids":"%b"},"outputs":[%b]}'
        ).encode()
        self._names = [json.dumps(output.name).encode() for output in outputs]
        self._is_plain = "%" not in model and all(not output.shape and output.type != "string" for output in outputs)

    def write(self, route: str, ids: Sequence[str], share: Share) -> bytes | None:
        """Return the text of a reply; None where an output is no scalar number, which takes another way."""
        if not self._is_plain:
            return None
        start, stop = share.start, share.stop
        outputs = [
            b'{"name":%b,"datatype":"%b","shape":[%d],"data":[%b]}'
            % (name, datatype_of(values).encode(), stop - start, b",".join(texts[start:stop]))
            for name, values, texts in zip(self._names, share.batch.outputs, share.batch.texts, strict=True)
        ]
        return self._head % (route.encode(), ",".join(ids).encode(), b",".join(outputs))
