"""Groups in the admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest, HttpResponse

from headwater.control.access.groups import add_to_group, create_group, remove_from_group, remove_group
from headwater.control.access.models import Group, GroupMember, ServiceAccount
from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, acting, button
from headwater.control.orgs.models import Membership, Organization
from headwater.core.setting_sections import SLUG


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


@admin.register(Group)
class GroupAdmin(ConsoleModelAdmin):
    """Groups of an organisation."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("name", "org", "description", "size")
    list_select_related = ("org",)
    search_fields = ("name", "description")
    actions_list = ("create",)
    actions_detail = ("add", "delete_group")

    @admin.display(description="members")
    def size(self, row: Any) -> int:
        """Return how many are in it."""
        return int(row.size)

    def fill(self, rows: list[Any]) -> None:
        """Count the members."""
        places = GroupMember.unscoped.filter(group__in=rows).order_by().values_list("group")
        counts = dict(places.annotate(count=Count("pk")))
        for row in rows:
            row.size = counts.get(row.pk, 0)

    @button("New group", path="new", icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Make a group."""

        def run(values: dict[str, Any]) -> str:
            group = create_group(
                actor=acting(request),
                org=values["organization"],
                name=values["name"],
                description=values["description"],
            )
            return f"{group} was made."

        form = GroupForm(request.POST or None).offered_to(request, "member.write")
        return self.act(request, run, title="New group", submit="Create", back=self.link("changelist"), form=form)

    @button("Add somebody", path="add-member", icon="person_add")
    def add(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Put a member or a service account into the group."""
        group = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            place = add_to_group(
                actor=acting(request), group=group, membership=values["member"],
                service_account=values["service_account"], reason=values["reason"],
            )  # fmt: skip
            return f"{place}."

        form = GroupMemberForm(request.POST or None).offered_to(request, "member.write")
        return self.act(
            request, run, title=f"Add to {group}", submit="Add", back=self.link("change", object_id), form=form,
            explanation="They get every role that the group has, at once.", original=group,
        )  # fmt: skip

    @button("Delete", path="delete-group", icon="delete")
    def delete_group(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Delete an empty group."""
        group = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            remove_group(actor=acting(request), group=group, reason=values["reason"])
            return f"{group} is gone."

        return self.act(
            request, run, title=f"Delete {group}", submit="Delete", back=self.link("changelist"), danger=True,
            explanation="Only an empty group that was never given a role can be deleted.", original=group,
        )  # fmt: skip


@admin.register(GroupMember)
class GroupMemberAdmin(ConsoleModelAdmin):
    """Who is in which group."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("group", "who", "org", "managed_by", "created_at")
    list_select_related = ("group", "org", "membership__user", "membership__org", "service_account")
    list_filter = (("group", admin.RelatedOnlyFieldListFilter), "managed_by")
    actions_detail = ("take_out",)

    @admin.display(description="who")
    def who(self, row: GroupMember) -> str:
        """Return who is in it."""
        return str(row.membership.user if row.membership else row.service_account)

    @button("Take out", path="remove", icon="person_remove")
    def take_out(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take somebody out of a group."""
        place = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            remove_from_group(actor=acting(request), place=place, reason=values["reason"])
            return "They are no longer in the group."

        return self.act(
            request, run, title=f"Take {place.membership or place.service_account} out of {place.group}",
            submit="Take out", back=self.link("changelist"), danger=True, original=place,
            explanation="They lose the roles that the group has, at once.",
        )  # fmt: skip
