"""What can be told about datasets, receipts and refused rows. Everything here blocks and belongs in a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from headwater.contracts.projections import json_schema
from headwater.contracts.rows import Format
from headwater.engines.journal.protocol import Backlog, Receipt
from headwater.services.ingest.catalog import Catalog, Dataset
from headwater.services.ingest.dedup import DISCARDED, REPLAYED
from headwater.services.ingest.kept import Group
from headwater.services.ingest.reply import REDACTED, counts_of
from headwater.services.kit.service import Runtime
from headwater.services.kit.tables import table_state

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATES: Final = {REPLAYED[:1]: "replayed", DISCARDED[:1]: "discarded"}
_HIDDEN_COLUMNS: Final = frozenset({"raw", "dialect"})


def describe_datasets(runtime: Runtime, datasets: Sequence[Dataset]) -> list[dict[str, Any]]:
    """Return counts and freshness of datasets, by name."""
    backlogs = {backlog.stream: backlog for backlog in runtime.journal.backlogs()}
    return [_describe(runtime, dataset, backlogs) for dataset in sorted(datasets, key=lambda dataset: dataset.name)]


def describe_contract(dataset: Dataset) -> dict[str, Any]:
    """Return the active contract version: the spec and the JSON Schema of a row."""
    active = dataset.active
    return {
        "version": active.number,
        "versions": sorted(dataset.versions),
        "spec": _shown_spec(active.plain),
        "json_schema": json_schema(active.contract),
    }


def describe_receipt(runtime: Runtime, receipt: Receipt, *, shows_values: bool = True) -> dict[str, Any]:
    """Return what a receipt says: counts, where the rows are, and what was wrong with those refused."""
    refused = orjson.loads(receipt.errors) if receipt.errors else {}
    if not shows_values:
        refused |= {"errors": [row | {"errors": _without_values(row["errors"])} for row in refused.get("errors", ())]}
    dataset = receipt.stream.partition("/")[2]
    return {
        **_receipt_row(runtime, receipt),
        "dataset": dataset,
        "config_version": receipt.config_version,
        "journal": {"partition": 0, "first_seq": receipt.first_seq, "last_seq": receipt.last_seq},
        **refused,
    }


def list_receipts(runtime: Runtime, stream: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest receipts of a stream, newest first."""
    return [_receipt_row(runtime, receipt) for receipt in runtime.journal.recent_receipts(stream, limit=limit)]


def describe_group(group: Group, catalog: Catalog, *, shows_values: bool = True) -> dict[str, Any]:
    """Return a group of refused rows with its samples, and with their values if those may be shown."""
    dataset = catalog.by_id(group.dataset_id)
    return {
        "fingerprint": group.fingerprint,
        "dataset": dataset.name if dataset is not None else group.dataset_id,
        "contract_version": group.contract_version,
        "code": group.code,
        "path": group.path,
        "count": group.count,
        "open": group.open,
        "first_at": group.first_at,
        "last_at": group.last_at,
        "principal_ids": list(group.principal_ids),
        "samples": [
            {
                "quarantine_id": row["quarantine_id"],
                "received_at": row["received_at"],
                "raw": shown_raw(row, dataset) if shows_values else REDACTED,
                "errors": row["errors"] if shows_values else _without_values(row["errors"]),
            }
            for row in group.samples
        ],
    }


def describe_kept(
    row: Mapping[str, Any], dataset: Dataset, settled: Mapping[str, bytes], *, shows_values: bool = True
) -> dict[str, Any]:
    """Return a refused row with its state, and with its values if those may be shown."""
    state = settled.get(row["quarantine_id"])
    values = {} if shows_values else {"row_key": None, "errors": _without_values(row["errors"])}
    return {
        **{name: value for name, value in row.items() if name not in _HIDDEN_COLUMNS},
        **values,
        "raw": shown_raw(row, dataset) if shows_values else REDACTED,
        "state": "open" if state is None else _STATES.get(state[:1], "replayed"),
    }


def _without_values(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**error, "actual": None if error.get("actual") is None else REDACTED} for error in errors]


def shown_raw(row: Mapping[str, Any], dataset: Dataset | None) -> str | None:
    """Return a row's bytes as text, without the values of fields that are not public.

    What cannot be taken apart is not shown at all where any field is hidden, nor is a row of a dataset that is gone.
    """
    raw = row["raw"]
    if raw is None:
        return None
    hidden = frozenset().union(*(version.hidden for version in dataset.versions.values())) if dataset else None
    if hidden is not None and not hidden:
        return bytes(raw).decode("utf-8", "replace")
    if hidden is None or row["format"] == Format.CSV:
        return REDACTED
    try:
        document = orjson.loads(raw)
    except ValueError:
        return REDACTED
    if not isinstance(document, dict):
        return REDACTED
    return orjson.dumps({name: REDACTED if name in hidden else value for name, value in document.items()}).decode()


def _describe(runtime: Runtime, dataset: Dataset, backlogs: Mapping[str, Backlog]) -> dict[str, Any]:
    state = table_state(runtime.journal, runtime.lake, dataset.stream)
    backlog = backlogs.get(dataset.stream)
    newest = runtime.journal.recent_receipts(dataset.stream, limit=1)
    return {
        "name": dataset.name,
        "description": dataset.spec.description,
        "contract": dataset.active.label,
        "archived": dataset.spec.archived,
        "counts": counts_of(runtime.journal.totals(dataset.stream)),
        "unsealed_rows": backlog.rows if backlog is not None else 0,
        "table_version": state.version if state is not None else None,
        "rows": state.rows if state is not None else 0,
        "last_received_at": _instant(newest[0].received_at_us) if newest else None,
    }


def _shown_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a contract or a field without ``rest``, where what we make nothing of is kept for its author's export."""
    shown = {name: value for name, value in spec.items() if name != "rest"}
    if "fields" in shown:
        shown["fields"] = [_shown_spec(field) for field in shown["fields"]]
    if shown.get("items") is not None:
        shown["items"] = _shown_spec(shown["items"])
    return shown


def _receipt_row(runtime: Runtime, receipt: Receipt) -> dict[str, Any]:
    seal = runtime.journal.find_seal(receipt.stream, receipt.last_seq) if receipt.last_seq is not None else None
    return {
        "receipt": receipt.id,
        "state": "committed" if seal is not None or receipt.last_seq is None else "durable",
        "received_at": _instant(receipt.received_at_us),
        "principal_id": receipt.principal_id,
        "counts": counts_of(receipt.counts),
        "table_version": seal.table_version if seal is not None else None,
    }


def _instant(at_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_us)
