"""Which rows of the prediction log an alert is about, as a query that can be run as it stands."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any, Final

from headwater.control.monitoring.report import FieldReport, KnownQuality, Report
from headwater.core.streams import OUTCOMES, prediction_log
from headwater.engines.monitoring.layout import is_single

LIMIT: Final = 200
_TRUTH: Final = f"""WITH truth AS (
  SELECT * FROM {OUTCOMES}
  QUALIFY row_number() OVER (PARTITION BY prediction_id, output ORDER BY _hw_seq DESC) = 1
)
"""  # noqa: S608 - a constant
_ELEMENT: Final = re.compile(r"(?P<name>.+)\[(?P<index>\d+)\]")


@dataclass(frozen=True, slots=True)
class Signature:
    """What has to be known of a version's signature to name a column of its log."""

    inputs: Sequence[Mapping[str, Any]]
    outputs: Sequence[Mapping[str, Any]]

    def column(self, side: str, name: str) -> str:
        """Return the SQL of a field that a report names."""
        element = _ELEMENT.fullmatch(name) if side == "output" else None
        lists = {output["name"] for output in self.outputs if output.get("shape")}
        if element is not None and element["name"] in lists:
            return f"{_quote('output_' + element['name'])}[{int(element['index']) + 1}]"
        column = _quote(f"{side}_{name}")
        fields = self.inputs if side == "input" else self.outputs
        is_boolean = any(field["name"] == name and field.get("type") == "boolean" for field in fields)
        # Profiles count booleans as the numbers 0 and 1.
        return f"CAST({column} AS INTEGER)" if is_boolean else column


def evidence_of(
    report: Report, metric: str, side: str | None, name: str | None, signature: Signature
) -> dict[str, Any]:
    """Return where the rows behind a number lie: dataset, window, SQL, and in words which rows are meant.

    Args:
        report: what the number was read from.
        metric: what it measures.
        side: of which side the field is, None for what the version as a whole does.
        name: the field.
        signature: the version's.
    """
    field = next((one for one in report.fields if (one.side, one.name) == (side, name)), None)
    column = signature.column(side, name) if side and name else ""
    condition, what, order = _condition(metric, field, column)
    where = [
        f"version = {report.version}",
        f"predicted_at >= TIMESTAMPTZ '{_instant(report.window.since)}'",
        f"predicted_at < TIMESTAMPTZ '{_instant(report.window.until)}'",
        *([condition] if condition else []),
    ]
    shown = f", {column}" if column else ", latency_us"
    dataset = prediction_log(report.model)
    return {
        "dataset": dataset,
        "from": _instant(report.window.since),
        "to": _instant(report.window.until),
        "rows": what,
        "sql": (
            f"SELECT prediction_id, predicted_at, route{shown}\nFROM {_quote(dataset)}\n"
            f"WHERE {' AND '.join(where)}\nORDER BY {order}\nLIMIT {LIMIT}"
        ),
    }


def misses_of(report: Report, quality: KnownQuality, output: str, signature: Signature) -> dict[str, Any]:
    """Return where the predictions lie that turned out worst, by what became of them: as ``evidence_of`` does."""
    dataset = prediction_log(report.model)
    column = f"p.{_quote('output_' + output)}"
    is_text = any(one["name"] == output and one.get("type") == "string" for one in signature.outputs)
    actual = "t.outcome_text" if is_text else "t.outcome_number"
    # Booleans are logged as such, and what became of them is 0 or 1.
    order = "p.predicted_at DESC" if is_text else f"abs(CAST({column} AS DOUBLE) - {actual}) DESC"
    since, until = _instant(quality.window.since), _instant(quality.window.until)
    where = [
        f"p.version = {report.version}",
        f"p.predicted_at >= TIMESTAMPTZ '{since}'",
        f"p.predicted_at < TIMESTAMPTZ '{until}'",
        f"coalesce(t.output, {_text(output)}) = {_text(output)}",
        f"{column} <> {actual}" if is_text else f"{actual} IS NOT NULL",
    ]
    return {
        "dataset": dataset,
        "from": since,
        "to": until,
        "rows": f"the predictions of {output} that were furthest from what became of them",
        "sql": _TRUTH
        + (
            f"SELECT p.prediction_id, p.predicted_at, p.route, {column}, {actual}\n"
            f"FROM {_quote(dataset)} p JOIN truth t ON t.prediction_id = coalesce(p.shadow_of, p.prediction_id)\n"
            f"WHERE {' AND '.join(where)}\nORDER BY {order}\nLIMIT {LIMIT}"
        ),
    }


def _condition(metric: str, field: FieldReport | None, column: str) -> tuple[str, str, str]:
    newest = "predicted_at DESC"
    if metric == "p99_ms":
        return "", "the slowest predictions", "latency_us DESC"
    if field is None:
        # What failed has no prediction, so it is not in the log; what was answered meanwhile is.
        return "", "the predictions that were answered meanwhile", newest
    if metric == "null_rate":
        return f"{column} IS NULL", f"rows without {field.name}", newest
    if metric == "out_of_range_rate":
        return _outside(field, column), f"rows whose {field.name} the reference never had", newest
    return *_grown(field, column), newest


def _outside(field: FieldReport, column: str) -> str:
    if field.kind == "category":
        known = ", ".join(_text(value) for value in field.reference.categories)
        return f"{column} NOT IN ({known})" if known else f"{column} IS NOT NULL"
    edges = field.reference.bins
    if not edges:
        return f"{column} IS NOT NULL"
    return f"({_below(column, edges[0])} OR {_from(column, edges[-1], is_last=True)})"


def _grown(field: FieldReport, column: str) -> tuple[str, str]:
    """Return the bin that grew most, weighed as the PSI does."""
    expected, found = field.reference.share, field.current.share
    if not expected or len(expected) != len(found):
        return "", f"rows with {field.name}"
    gains = [
        (q - p) * math.log(max(q, 1e-4) / max(p, 1e-4)) if q > p else 0.0 for p, q in zip(expected, found, strict=True)
    ]
    at = max(range(len(gains)), key=gains.__getitem__)
    condition, words = _bin(field, column, at)
    return (
        condition,
        f"rows whose {field.name} is {words}: {found[at]:.0%} of them, {expected[at]:.0%} in the reference",
    )


def _bin(field: FieldReport, column: str, at: int) -> tuple[str, str]:
    if field.kind == "category":
        known = field.reference.categories
        if at < len(known):
            return f"{column} = {_text(known[at])}", repr(known[at])
        others = ", ".join(map(_text, known))
        return (f"{column} NOT IN ({others})" if others else f"{column} IS NOT NULL"), "none of the frequent values"
    return _span(field.reference.bins, column, at)


def _span(edges: Sequence[float], column: str, at: int) -> tuple[str, str]:
    """Return the condition of a number's bin, and its words; values that have a bin to themselves are named."""
    least = edges[at - 1] if at else None
    most = edges[at] if at < len(edges) else None
    if least is not None and most is not None and is_single(least, most):
        return f"{column} = {least!r}", f"{least:.6g}"
    parts: list[tuple[str, str]] = []
    if at > 1 and is_single(edges[at - 2], edges[at - 1]):
        parts.append((f"{column} > {edges[at - 2]!r}", f"above {edges[at - 2]:.6g}"))
    elif least is not None:
        parts.append((_from(column, least, is_last=at == len(edges)), f"at least {least:.6g}"))
    if most is not None:
        parts.append((_below(column, most, is_last=at == len(edges) - 1), f"below {most:.6g}"))
    conditions, words = [part[0] for part in parts], [part[1] for part in parts]
    return " AND ".join(conditions) or f"{column} IS NOT NULL", " and ".join(words) or "any"


def _from(column: str, edge: float, *, is_last: bool = False) -> str:
    before = math.nextafter(edge, -math.inf)
    if len(repr(before)) < len(repr(edge)):  # the edge is what comes after a plain number
        return f"{column} > {before!r}"
    return f"{column} >= {_plain(edge, is_last=is_last)!r}"


def _below(column: str, edge: float, *, is_last: bool = False) -> str:
    before = math.nextafter(edge, -math.inf)
    if len(repr(before)) < len(repr(edge)):
        return f"{column} <= {before!r}"
    return f"{column} < {_plain(edge, is_last=is_last)!r}"


def _plain(edge: float, *, is_last: bool) -> float:
    """Return an edge with nine digits that count: people read these queries, and no row lies between.

    Edges are rounded down, so that a bin keeps its least value, but for the last one, beyond which none was.
    """
    context = Context(prec=9, rounding=ROUND_CEILING if is_last else ROUND_FLOOR)
    return float(context.create_decimal(repr(edge)))


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    # No text of a query, and none of a database's documents, may hold a NUL.
    return "'" + value.replace("'", "''").replace("\x00", "' || chr(0) || '") + "'"


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S+00")
