"""Policies as people write them: files ``policies/<name>.yaml``, and the bodies of the control API.

.. code-block:: yaml

    dataset: flights               # or endpoint: delays
    priority: 10                   # the lowest that matches decides, alone
    principals: [group:partners]   # everyone, role:…, group:…, service_account:…, user:…
    rows: carrier in (caller.carriers) and distance > 0
    attributes: {carriers: strings}
    columns: {tailnum: hash, dest: hide}
    purpose: Partners see the flights of their own carriers
    expires: 2027-06-30T00:00:00Z
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from headwater.contracts.yamltree import YamlFault, load
from headwater.core.errors import HeadwaterError
from headwater.core.policies import EVERYONE, AttributeType, Mask

NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"
RESOURCE: Final = r"^[a-z][a-z0-9_]{0,126}$"
_PRINCIPAL: Final = re.compile(r"(role|group|service_account|user):\S{1,254}")


def _check_principal(text: str) -> str:
    if text != EVERYONE and not _PRINCIPAL.fullmatch(text):
        raise ValueError("write everyone, role:<name>, group:<name>, service_account:<name> or user:<address>")
    return text


class PolicyDocument(BaseModel):
    """A whole policy, but for its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str | None = Field(None, pattern=RESOURCE)
    endpoint: str | None = Field(None, pattern=RESOURCE)
    priority: int = Field(ge=0, le=1_000_000)
    principals: tuple[str, ...] = Field(min_length=1, max_length=200)
    rows: str = Field("", max_length=4_000, description="A condition on rows; empty: every row")
    attributes: dict[Annotated[str, Field(pattern=NAME)], AttributeType] = {}
    columns: dict[str, Mask] = {}
    purpose: str = Field(min_length=1, max_length=500, description="Why these see this")
    expires: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_resource(self) -> Self:
        if (self.dataset is None) == (self.endpoint is None):
            raise ValueError("name a dataset or an endpoint")
        for principal in self.principals:
            _check_principal(principal)
        return self

    @property
    def resource(self) -> str:
        """Return what it is about, such as ``dataset:flights``."""
        return f"dataset:{self.dataset}" if self.dataset is not None else f"endpoint:{self.endpoint}"

    def content(self, principals: Sequence[str]) -> dict[str, Any]:
        """Return the fields of ``AccessPolicy`` but its name; ``principals`` are those of the document, found."""
        expires: datetime | None = self.expires
        return {
            "resource": self.resource, "priority": self.priority, "principals": sorted(set(principals)),
            "row_filter": self.rows.strip(), "attributes": dict(self.attributes), "columns": dict(self.columns),
            "purpose": self.purpose.strip(), "expires_at": expires,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy file that could be read."""

    name: str
    document: PolicyDocument


def parse_policy(text: str, *, source: str) -> PolicyFile:
    """Read a policy file, which is named as the policy is.

    Raises:
        HeadwaterError: ``project_invalid``; ``errors`` lists every fault with its path, line and cure.
    """
    try:
        tree = load(text)
    except YamlFault as fault:
        raise _invalid(source, [{"path": "", "message": str(fault), "line": fault.line}]) from fault
    if not isinstance(tree.data, dict):
        raise _invalid(
            source, [{"path": "", "message": "the file must be a mapping; write lines such as 'dataset: …'"}]
        )
    try:
        document = PolicyDocument.model_validate(tree.data)
    except ValidationError as error:
        found = [_fault(item["loc"], item["msg"]) for item in error.errors()]
        raise _invalid(source, [{**item, "line": tree.line_of(item["path"])} for item in found]) from error
    name = PurePosixPath(source).stem
    if not re.fullmatch(NAME, name):
        cure = "name the file with lower-case letters, digits and underscores, a letter first"
        raise _invalid(source, [{"path": "", "message": f"{name[:100]!r} is no name of a policy; {cure}"}])
    return PolicyFile(name, document)


def _fault(location: Sequence[int | str], message: str) -> dict[str, Any]:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return {"path": path, "message": message.removeprefix("Value error, ")}


def _invalid(source: str, errors: list[dict[str, Any]]) -> HeadwaterError:
    first = errors[0]
    where = f", {first['path']}" if first["path"] else ""
    return HeadwaterError("project_invalid", f"{source}{where}: {first['message']}", extra={"errors": errors})
