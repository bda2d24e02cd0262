"""The form of a policy: its document, member by member, with a mask for every column that there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

from django import forms
from django.forms import BoundField
from pydantic import ValidationError

from headwater.control.console.forms import ReasonForm
from headwater.control.policies.document import PolicyDocument
from headwater.control.policies.fit import show_principals
from headwater.control.policies.models import NAME, AccessPolicy
from headwater.core.policies import ATTRIBUTE_TYPES

SHOWN: Final = "shown"
MASKS: Final = (
    (SHOWN, "as it is"), ("hide", "not at all"), ("null", "as null"), ("hash", "as a hash"),
    ("last4", "its last four letters"),
)  # fmt: skip
_MEMBERS: Final = {"expires": "expires_at"}


class PolicyForm(ReasonForm):
    """A policy on one resource. Columns are fields named ``column-<name>``; a policy's name stays."""

    name = forms.CharField(
        max_length=63, validators=[NAME], help_text="Lower-case letters, digits and underscores. It stays."
    )
    purpose = forms.CharField(max_length=500, help_text="Why these see this; it is shown when somebody asks.")
    principals = forms.CharField(
        label="For whom", max_length=20_000, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One a line: everyone, role:analyst, group:partners, user:ada@example.com, service_account:loader.",
    )  # fmt: skip
    rows = forms.CharField(
        label="Rows", max_length=4_000, required=False, widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="A condition, such as carrier in (caller.carriers). Empty: every row.",
    )  # fmt: skip
    attributes = forms.CharField(
        max_length=4_000, required=False, widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text=f"Of keys, that the condition uses as caller.…; one a line, such as carriers: strings. "
        f"Types: {', '.join(ATTRIBUTE_TYPES)}.",
    )  # fmt: skip
    priority = forms.IntegerField(
        min_value=0, max_value=1_000_000, help_text="The lowest that matches decides, alone. No two share one."
    )
    expires_at = forms.DateTimeField(
        label="Ends", required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        help_text="In UTC; from then on it matches nobody. Empty: never.",
    )  # fmt: skip
    who = forms.CharField(
        label="What would they see?", max_length=254, required=False,
        help_text="A member's address, a service account's name or a key's prefix; empty: yourself.",
    )  # fmt: skip

    def __init__(
        self, resource: str, columns: Sequence[tuple[str, str]], data: Any = None, *, initial: dict[str, Any]
    ) -> None:
        """Offer a mask for each of ``columns`` (names and types)."""
        super().__init__(data, initial=initial)
        self.resource = resource
        self.existing = ""
        self._columns = {f"column-{name}": name for name, _ in columns}
        types = dict(columns)
        for field, name in self._columns.items():
            self.fields[field] = forms.ChoiceField(
                label=name, choices=MASKS, required=False, initial=SHOWN, help_text=types[name]
            )

    @classmethod
    def of(cls, row: AccessPolicy, columns: Sequence[tuple[str, str]], data: Any = None) -> Self:
        """Return the form of a policy that there is."""
        names = show_principals(row.environment, row.principals)
        initial = {
            "purpose": row.purpose, "principals": "\n".join(names[one] for one in row.principals),
            "rows": row.row_filter, "priority": row.priority, "expires_at": row.expires_at,
            "attributes": "\n".join(f"{name}: {kind}" for name, kind in row.attributes.items()),
            **{f"column-{name}": mask for name, mask in row.columns.items()},
        }  # fmt: skip
        form = cls(row.resource, columns, data, initial=initial)
        del form.fields["name"]
        form.existing = row.name
        return form

    @property
    def policy_name(self) -> str:
        """Return the policy's name."""
        return self.existing or str(self.cleaned_data["name"])

    @property
    def columns(self) -> list[BoundField]:
        """Return the fields of the columns."""
        return [self[field] for field in self._columns]

    @property
    def members(self) -> list[BoundField]:
        """Return the other fields, but for the question and the reason."""
        apart = {*self._columns, "who", "reason"}
        return [self[field] for field in self.fields if field not in apart]

    def clean_attributes(self) -> dict[str, str]:
        """Return the types of attributes by name."""
        found = {}
        for line in self.cleaned_data["attributes"].splitlines():
            name, colon, kind = (part.strip() for part in line.partition(":"))
            if name and not colon:
                raise forms.ValidationError(f"Write a name, a colon and a type, not {line.strip()[:60]!r}.")
            if name:
                found[name] = kind
        return found

    def clean(self) -> dict[str, Any]:
        """Hold the fields against what a document takes; errors are shown beside the fields they are about."""
        values: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                self._build(values)
            except ValidationError as error:
                for item in error.errors():
                    member = str(item["loc"][0]) if item["loc"] else ""
                    field = _MEMBERS.get(member, member)
                    self.add_error(field if field in self.fields else None, item["msg"].removeprefix("Value error, "))
        return values

    def document(self) -> PolicyDocument:
        """Return the policy that was written; the form is valid."""
        return self._build(self.cleaned_data)

    def _build(self, values: dict[str, Any]) -> PolicyDocument:
        kind, name = self.resource.split(":")
        masks = {column: values.get(field) for field, column in self._columns.items()}
        written = [line.strip() for line in values["principals"].splitlines() if line.strip()]
        return PolicyDocument.model_validate({
            kind: name,
            "priority": values["priority"],
            "principals": written,
            "rows": values["rows"],
            "attributes": values["attributes"],
            "columns": {column: mask for column, mask in masks.items() if mask and mask != SHOWN},
            "purpose": values["purpose"],
            "expires": values["expires_at"],
        })  # fmt: skip
