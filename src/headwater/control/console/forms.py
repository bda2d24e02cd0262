"""Forms of the console: plain fields, and one way to run an action and show what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.forms.utils import flatatt
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_htmx.http import HttpResponseClientRedirect

from headwater.core.errors import HeadwaterError

Run = Callable[[dict[str, Any]], HttpResponse | str | None]


class LongSelect(forms.Select):
    """A choice among hundreds: Django's own renders a template for each option, a tenth of a second for a thousand."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:  # noqa: ARG002
        """Return the element; groups of options are kept."""
        chosen = set(self.format_value(value))
        parts = [format_html("<select{}>", flatatt(self.build_attrs(self.attrs, {"name": name, **(attrs or {})})))]
        for key, label in self.choices:
            if isinstance(label, (list, tuple)):
                inside = SafeString("".join(_option(item[0], item[1], chosen) for item in label))
                parts.append(format_html('<optgroup label="{}">{}</optgroup>', key, inside))
            else:
                parts.append(_option(key, label, chosen))
        return SafeString("".join([*parts, "</select>"]))


def _option(key: Any, label: Any, chosen: set[str]) -> SafeString:
    selected = SafeString(" selected" if str(key) in chosen else "")
    return format_html('<option value="{}"{}>{}</option>', key, selected, label)


class ConsoleForm(forms.Form):
    """The base of the console's forms; ``console/parts/field.html`` draws each field."""

    required_css_class = "required"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """End no label with a colon."""
        kwargs.setdefault("label_suffix", "")
        super().__init__(*args, **kwargs)


class ReasonForm(ConsoleForm):
    """Why something is done; kept in the audit log."""

    reason = forms.CharField(max_length=500, required=False)


class GivenReasonForm(ReasonForm):
    """Why something is done, where no answer will not do."""

    reason = forms.CharField(max_length=500)


def submit(request: HttpRequest, form: forms.Form, run: Run, *, back: str) -> HttpResponse | None:
    """Run an action with a form that was sent.

    Args:
        request: the POST.
        form: bound to it. What is wrong with it, and what the action refuses, is left in its errors.
        run: takes the form's values; returns a reply of its own, or what to tell once it is done.
        back: where to go afterwards.

    Returns:
        The reply, or None when the form is to be shown again.
    """
    if not form.is_valid():
        return None
    try:
        result = run(form.cleaned_data)
    except HeadwaterError as error:
        form.add_error(None, sentence(error))
        return None
    if isinstance(result, HttpResponse):
        return result
    messages.success(request, result or "Done.")
    return go(request, back)


def perform(request: HttpRequest, run: Run, *, back: str, form: forms.Form | None = None) -> HttpResponse:
    """Run the action of a button or of a confirmation and go ``back``, saying what was done or why it was not.

    ``form`` defaults to ``ReasonForm``.
    """
    form = form if form is not None else ReasonForm(request.POST)
    reply = submit(request, form, run, back=back)
    if reply is not None:
        return reply
    for name, errors in form.errors.items():
        prefix = "" if name == "__all__" else f"{form.fields[name].label or name.replace('_', ' ').capitalize()}: "
        for text in errors:
            messages.error(request, f"{prefix}{text}")
    return go(request, back)


def go(request: HttpRequest, url: str) -> HttpResponse:
    """Lead the browser to ``url``, after a form of the page or one that htmx sent."""
    if request.headers.get("HX-Request"):
        return HttpResponseClientRedirect(url)
    return HttpResponseRedirect(url)


def sentence(error: HeadwaterError) -> str:
    """Return what an error says and how to cure it, as sentences."""
    detail = error.detail[:1].upper() + error.detail[1:]
    hint = f" {error.hint[:1].upper()}{error.hint[1:]}." if error.hint else ""
    return f"{detail.rstrip('.')}.{hint}"
