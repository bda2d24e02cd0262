"""Whether who calls one version of a model can call another: what the change of signature breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headwater.contracts.model import Contract
from headwater.contracts.spec import contract_from_spec
from headwater.control.catalog.compat import Change, compare_contracts
from headwater.control.registry.models import ModelVersion


def compare_versions(old: ModelVersion, new: ModelVersion) -> tuple[Change, ...]:
    """Return what differs between two signatures, inputs first; a breaking change fails callers of ``old``."""
    return compare_signatures((old.inputs, old.outputs, old.features), (new.inputs, new.outputs, new.features))


Signature = tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], Sequence[Mapping[str, str]]]
"""Plain inputs, outputs and feature references."""


def compare_signatures(old: Signature, new: Signature) -> tuple[Change, ...]:
    """Return what differs between two plain signatures."""
    return (*_compare_inputs(old, new), *_compare_outputs(old[1], new[1]))


def _compare_inputs(old: Signature, new: Signature) -> Iterator[Change]:
    before, after = contract_from_spec(dict(old[0])), contract_from_spec(dict(new[0]))
    views = {reference["view"] for reference in old[2]}
    # Who names the entities of a view already gets its other features without doing anything.
    filled = {reference["field"] for reference in new[2] if reference["view"] in views}
    names = {field.name for field in after.fields} | {alias for field in after.fields for alias in field.aliases}
    for field in before.fields:
        if field.name not in names:
            yield Change(f"input {field.name}", "removed, and rows that still have it are refused", breaking=True)
    still = {reference["field"] for reference in new[2]}
    for reference in old[2]:
        if reference["field"] in names - still:
            summary = f"no longer filled from {reference['view']}.{reference['feature']}"
            yield Change(f"input {reference['field']}", summary, breaking=True)
    for change in compare_contracts(_kept(before, names), after):
        path = change.path.partition(".")[0]
        if path:
            yield Change(f"input {change.path}", change.summary, change.breaking and path not in filled)


def _kept(contract: Contract, names: set[str]) -> Contract:
    fields = tuple(field for field in contract.fields if field.name in names)
    return Contract(contract.name, contract.version, fields)


def _compare_outputs(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    after = {output["name"]: output for output in new}
    for output in old:
        path = f"output {output['name']}"
        found = after.pop(output["name"], None)
        if found is None:
            yield Change(path, "removed", breaking=True)
            continue
        for member, default in (("type", None), ("shape", [])):
            was, now = output.get(member, default), found.get(member, default)
            if was != now:
                yield Change(path, f"{member} changed from {was} to {now}", breaking=True)
    for name in after:
        yield Change(f"output {name}", "added")
