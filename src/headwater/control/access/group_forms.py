"""The forms of groups in the admin."""

from __future__ import annotations

from typing import Any

from django import forms

from headwater.control.access.models import ServiceAccount
from headwater.control.console.model_admin import ActionForm
from headwater.control.orgs.models import Membership, Organization
from headwater.core.settings import SLUG


class GroupForm(ActionForm):
    """A group."""

    organization = forms.ModelChoiceField(Organization.unscoped.all())
    name = forms.RegexField(SLUG, help_text="For instance partners. It stays: policies know the group by it.")
    description = forms.CharField(max_length=500, required=False)


class GroupMemberForm(ActionForm):
    """Somebody to be put into a group."""

    member = forms.ModelChoiceField(Membership.unscoped.select_related("user", "org"), required=False)
    service_account = forms.ModelChoiceField(ServiceAccount.unscoped.all(), required=False)
    reason = forms.CharField(max_length=500, required=False, widget=forms.Textarea)

    def clean(self) -> dict[str, Any]:
        """Take one principal."""
        values: dict[str, Any] = super().clean() or {}
        if bool(values.get("member")) == bool(values.get("service_account")):
            raise forms.ValidationError("Choose a member or a service account.")
        return values
