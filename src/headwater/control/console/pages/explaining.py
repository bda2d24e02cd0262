"""Why can, or can't, somebody do something here: the question as a form, the answer with what decided."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse

from headwater.control.console.forms import ConsoleForm, sentence
from headwater.control.console.pages import page
from headwater.control.console.pages.team import render_tab
from headwater.control.console.place import Place
from headwater.control.policies.explain import Explanation, Question, explain, find_who
from headwater.core.errors import HeadwaterError
from headwater.core.permissions import PERMISSIONS


class QuestionForm(ConsoleForm):
    """Can who do what, on what, in which environment?"""

    who = forms.CharField(
        max_length=254, help_text="A member's address, a service account's name, or a key's prefix (hw_…)."
    )
    permission = forms.ChoiceField(
        label="Do what", choices=[(name, f"{name}: {text}") for name, text in sorted(PERMISSIONS.items())]
    )
    resource = forms.CharField(
        label="On what", max_length=200, required=False, help_text="Such as dataset:flights; empty: everything."
    )
    environment = forms.ChoiceField(label="Where")

    def __init__(self, here: Place, data: Any = None) -> None:
        """Offer the organisation's environments, the present one first."""
        super().__init__(data)
        self.environments = {str(item): item for item in here.environments}
        self.fields["environment"].choices = [(name, name) for name in self.environments]  # type: ignore[attr-defined]
        self.fields["environment"].initial = str(here.environment or "")
        self.fields["who"].initial = here.actor.label


@page("team/explain/", name="team-explain", permission=None, whole=True, section="team")
def why(request: HttpRequest, here: Place) -> HttpResponse:
    """Answer a question about access; about others it takes ``member.read``."""
    form = QuestionForm(here, request.GET if "who" in request.GET else None)
    answer: Explanation | None = None
    if form.is_bound and form.is_valid():
        answer = _answer(here, form)
    decided = answer.decided_by.replace("_", " ") if answer is not None else ""
    return render_tab(here, "team-explain", "explain", form=form, answer=answer, decided=decided)


def _answer(here: Place, form: QuestionForm) -> Explanation | None:
    values = form.cleaned_data
    environment = form.environments[values["environment"]]
    try:
        who = here.actor.subject
        if values["who"].strip().lower() != here.actor.label:
            here.need("member.read", here.org)
            who = find_who(environment, values["who"].strip())
        return explain(Question(who, values["permission"], environment, values["resource"].strip()))
    except HeadwaterError as error:
        form.add_error(None, sentence(error))
        return None
