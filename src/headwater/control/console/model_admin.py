"""The base of every admin page: read-only by default, and changes by actions alone.

This is the one module that knows the admin's skin, so that another one can take its place: pages derive from
``ConsoleModelAdmin`` and mark their actions with ``button``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeVar

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin
from unfold.decorators import action as unfold_action
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminEmailInputWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from headwater.control.access.authority import has_permission
from headwater.control.access.models import Role
from headwater.control.access.queries import actor_for_user
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Membership, Organization
from headwater.core.errors import HeadwaterError

__all__ = [
    "ActionForm",
    "ConsoleModelAdmin",
    "ReasonForm",
    "acting",
    "button",
    "operating",
    "readable_orgs",
    "staff",
]

Handler = TypeVar("Handler", bound=Callable[..., HttpResponse])
Run = Callable[[dict[str, Any]], HttpResponse | str | None]
_WIDGETS: Mapping[type[forms.Widget], Callable[[forms.Widget], forms.Widget]] = {
    forms.EmailInput: lambda _: UnfoldAdminEmailInputWidget(),
    forms.PasswordInput: lambda _: UnfoldAdminPasswordWidget(),
    forms.Textarea: lambda _: UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    forms.Select: lambda old: UnfoldAdminSelectWidget(choices=getattr(old, "choices", ())),
    forms.CheckboxInput: lambda _: UnfoldBooleanWidget(),
    forms.CheckboxSelectMultiple: lambda old: UnfoldAdminCheckboxSelectMultipleWidget(
        choices=getattr(old, "choices", ())
    ),
    forms.TextInput: lambda _: UnfoldAdminTextInputWidget(),
}


def button(text: str, *, path: str, icon: str) -> Callable[[Handler], Handler]:
    """Make a method of a page the action behind a button.

    Args:
        text: the button's.
        path: the last part of the action's address.
        icon: a Material symbol's name.
    """
    decorate: Callable[[Handler], Handler] = unfold_action(description=text, url_path=path, icon=icon)
    return decorate


class ActionForm(forms.Form):
    """The form of an action, in the admin's skin."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Dress the fields."""
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            dress = _WIDGETS.get(type(field.widget))
            if dress is not None:
                hidden_choices = getattr(field, "choices", None)
                field.widget = dress(field.widget)
                if hidden_choices is not None:
                    field.widget.choices = hidden_choices

    def offered_to(self, request: HttpRequest, permission: str) -> Self:
        """Offer only rows of organisations in which the reader holds ``permission``; return the form."""
        if is_superuser(request):
            return self
        orgs = readable_orgs(request, permission)
        for field in self.fields.values():
            if isinstance(field, forms.ModelChoiceField) and field.queryset is not None:
                path = "pk__in" if field.queryset.model is Organization else "org_id__in"
                mine = Q(**{path: orgs})
                if field.queryset.model is Role:
                    mine |= Q(org=None)
                field.queryset = field.queryset.filter(mine)
        return self


class ReasonForm(ActionForm):
    """Why something is done; kept in the audit log."""

    reason = forms.CharField(
        max_length=500, required=False, widget=forms.Textarea, help_text="Why; it is kept in the audit log."
    )


class ConsoleModelAdmin(ModelAdmin):  # type: ignore[misc]
    """A read-only page over a model. What changes state is a link to an action's form.

    Attributes:
        view_permission: what a member of staff who is no superuser needs in an organisation to see its rows; None:
            superusers alone see them.
        org_path: the look-up from a row to its organisation's primary key.
        list_defer: large columns that the list does without.
    """

    view_permission: ClassVar[str | None] = None
    org_path: ClassVar[str] = "org_id"
    list_defer: ClassVar[tuple[str, ...]] = ()

    list_per_page = 50
    list_filter_submit = True
    show_full_result_count = False
    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: rows are made by actions."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse: rows are changed by actions."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse: rows are removed by actions, if at all."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Let staff in; which rows there are for them is the query's business."""
        return staff(request) and (self.view_permission is not None or is_superuser(request))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Show the model to whoever may look at it."""
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows that this member of staff may see."""
        rows = self.every_row(request)
        if is_superuser(request):
            return rows
        orgs = readable_orgs(request, self.view_permission)
        return rows.filter(self.belongs_to(orgs)) if orgs else rows.none()

    def every_row(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows of all organisations, as the page orders them and without what its list does not show."""
        rows: QuerySet[Any] = getattr(self.model, "unscoped", self.model._default_manager).all()  # noqa: SLF001
        ordering = self.get_ordering(request)
        rows = rows.order_by(*ordering) if ordering else rows
        match = request.resolver_match
        if self.list_defer and match is not None and (match.url_name or "").endswith("_changelist"):
            rows = rows.defer(*self.list_defer)
        return rows

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the list with what its rows need filled in."""
        changelist = super().get_changelist_instance(request)
        changelist.result_list = list(changelist.result_list)
        self.fill(changelist.result_list)
        return changelist

    def fill(self, rows: list[Any]) -> None:
        """Fetch what the columns of a page's rows show beside the rows themselves, at once for all of them."""

    def belongs_to(self, orgs: list[uuid.UUID]) -> Q:
        """Return the condition under which a row belongs to one of ``orgs``."""
        return Q(**{f"{self.org_path}__in": orgs})

    def row(self, request: HttpRequest, pk: Any) -> Any:
        """Return a row the reader may see, or answer 404."""
        if not self.has_view_permission(request):
            raise Http404
        try:
            found = self.get_queryset(request).filter(pk=pk).first()
        except (ValidationError, ValueError) as error:
            raise Http404 from error  # an address that no page gave out
        if found is None:
            raise Http404
        return found

    def page(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        """Return a page of ours inside the admin."""
        whole = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, **context}
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template, whole)

    def act(
        self,
        request: HttpRequest,
        run: Run,
        *,
        title: str,
        submit: str,
        back: str,
        form: ActionForm | None = None,
        explanation: str = "",
        danger: bool = False,
        original: Any = None,
    ) -> HttpResponse:
        """Show an action's form, run the action when it is sent, and show what the action refuses.

        Args:
            request: GET shows the form, POST runs the action.
            run: takes the form's values; returns a reply, or what to tell once it is done.
            title: of the page.
            submit: the button's text.
            back: where to go afterwards.
            form: default: a form that asks for the reason.
            explanation: what the action will do.
            danger: whether it takes something away.
            original: the row concerned.
        """
        form = form if form is not None else ReasonForm(request.POST if request.method == "POST" else None)
        if request.method == "POST" and form.is_valid():
            try:
                result = run(form.cleaned_data)
            except HeadwaterError as error:
                form.add_error(None, f"{error.detail}. {error.hint.capitalize()}." if error.hint else error.detail)
            else:
                if isinstance(result, HttpResponse):
                    return result
                messages.success(request, result or "Done.")
                return HttpResponseRedirect(back)
        return self.page(
            request, "console/admin/action.html", title,
            form=form, submit=submit, back=back, explanation=explanation, danger=danger, original=original,
        )  # fmt: skip

    def address(self, route: str, view: Callable[..., HttpResponse], name: str) -> URLPattern:
        """Return a page of this model's own: its route below the list, its view, and the last part of its name."""
        full = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        pattern: URLPattern = path(route, self.admin_site.admin_view(view), name=full)
        return pattern

    def link(self, name: str, *args: Any) -> str:
        """Return the address of one of this model's pages, such as ``change`` or ``changelist``."""
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{name}", args=args)


def staff(request: HttpRequest) -> bool:
    """Return whether the reader may use the admin at all."""
    return bool(request.user.is_active and request.user.is_staff)


def acting(request: HttpRequest) -> Actor:
    """Return the reader as somebody who acts, with the permissions that their grants give."""
    return actor_for_user(request.user)


def operating(request: HttpRequest) -> Actor:
    """Return the platform acting for a superuser, for what no grant covers, such as making users.

    Raises:
        HeadwaterError: ``forbidden`` for anybody else.
    """
    if not is_superuser(request):
        raise HeadwaterError("forbidden", "only those who operate the platform may do this")
    user = actor_for_user(request.user)
    return Actor("system", user.id, user.label, on_behalf_of=user.label)


def readable_orgs(request: HttpRequest, permission: str | None) -> list[uuid.UUID]:
    """Return the organisations in which the reader is an active member and holds ``permission``."""
    if permission is None:
        return []
    orgs = Organization.unscoped.filter(
        pk__in=Membership.unscoped.filter(user_id=request.user.pk, status=Membership.Status.ACTIVE).values("org")
    )
    return [org.pk for org in orgs if has_permission(request.user, permission, org)]


def is_superuser(request: HttpRequest) -> bool:
    """Return whether the reader operates the whole installation."""
    return bool(staff(request) and getattr(request.user, "is_superuser", False))
