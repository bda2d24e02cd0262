"""Settings of an organisation: its name, its projects and environments."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse

from headwater.control.access.authority import authorize
from headwater.control.console.forms import ConsoleForm, perform, submit
from headwater.control.console.pages import FORM, Entry, page
from headwater.control.console.place import Place
from headwater.control.orgs.actions import (
    change_protection,
    create_environment,
    create_project,
    rename_organization,
    rename_project,
)
from headwater.control.orgs.models import Environment, Project, slug_validator


class NameForm(ConsoleForm):
    """What people see of an organisation."""

    name = forms.CharField(max_length=200)


class ProjectForm(ConsoleForm):
    """A new project, with its first environment: one without any serves nothing."""

    name = forms.CharField(max_length=200)
    slug = forms.CharField(
        max_length=63, validators=[slug_validator], help_text="In addresses and files; it stays as it is."
    )
    environment = forms.CharField(
        label="First environment", max_length=63, validators=[slug_validator], initial="development"
    )


class EnvironmentForm(ConsoleForm):
    """A new environment of a project."""

    project = forms.ChoiceField()
    key = forms.CharField(max_length=63, validators=[slug_validator], help_text="Such as staging or production.")
    protected = forms.BooleanField(
        required=False, help_text="A protected environment serves approved model versions only."
    )

    def __init__(self, here: Place, data: Any = None) -> None:
        """Offer the organisation's projects."""
        super().__init__(data)
        self.projects = {row.slug: row for row in Project.objects.for_org(here.org).select_related("org")}
        self.fields["project"].choices = [(row.slug, row.name) for row in self.projects.values()]  # type: ignore[attr-defined]


@page(
    "settings/", name="settings", permission=None, whole=True, methods=FORM,
    entry=Entry("Settings", "settings", "Organisation", order=90),
)  # fmt: skip
def settings(request: HttpRequest, here: Place) -> HttpResponse:
    """Show the organisation and its places; a POST renames it."""
    form = NameForm(request.POST if request.method == "POST" else None, initial={"name": here.org.name})

    def run(values: dict[str, Any]) -> str:
        rename_organization(actor=here.actor, org=here.org, name=values["name"])
        return "The organisation was renamed."

    reply = submit(request, form, run, back=here.url("settings")) if request.method == "POST" else None
    projects = list(Project.objects.for_org(here.org))
    return reply or here.render(
        "console/pages/settings/index.html", title="Settings", form=form, lead=f"{here.org.name}, {here.org.slug}",
        places=[(row, [item for item in here.environments if item.project_id == row.pk]) for row in projects],
        may_write=here.may("organization.write", here.org), toolbar="console/pages/settings/toolbar.html",
    )  # fmt: skip


@page("settings/projects/new/", name="project-new", permission="organization.write", whole=True, section="settings",
      methods=FORM)  # fmt: skip
def new_project(request: HttpRequest, here: Place) -> HttpResponse:
    """Make a project and its first environment."""
    form = ProjectForm(request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        project = create_project(actor=here.actor, org=here.org, slug=values["slug"], name=values["name"])
        create_environment(actor=here.actor, project=project, key=values["environment"])
        return f"{project.name} is there. Apply a project directory to it."

    return _form(request, here, form, run, title="New project", text="Create project")


@page("settings/projects/<slug:project_id>/rename/", name="project-rename", permission="organization.write", whole=True,
      section="settings", methods=FORM)  # fmt: skip
def rename(request: HttpRequest, here: Place, project_id: str) -> HttpResponse:
    """Change a project's name."""
    key = Project.parse_id(project_id)
    row = Project.objects.for_org(here.org).filter(pk=key).select_related("org").first()
    if row is None:
        raise Http404
    form = NameForm(request.POST if request.method == "POST" else None, initial={"name": row.name})

    def run(values: dict[str, Any]) -> str:
        rename_project(actor=here.actor, project=row, name=values["name"])
        return f"The project is called {row.name} now; its addresses stay."

    return _form(request, here, form, run, title=f"Rename {row.name}", text="Rename")


@page("settings/environments/new/", name="environment-new", permission="organization.write", whole=True,
      section="settings", methods=FORM)  # fmt: skip
def new_environment(request: HttpRequest, here: Place) -> HttpResponse:
    """Make an environment."""
    form = EnvironmentForm(here, request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        project = form.projects[values["project"]]
        made = create_environment(actor=here.actor, project=project, key=values["key"], protected=values["protected"])
        return f"{made} is there. Apply a project directory to it."

    return _form(request, here, form, run, title="New environment", text="Create environment")


@page("settings/environments/<slug:environment_id>/protection/", name="environment-protection", section="settings",
      permission="organization.write", whole=True, methods=("POST",))  # fmt: skip
def protection(request: HttpRequest, here: Place, environment_id: str) -> HttpResponse:
    """Protect an environment, or cease to."""
    key = Environment.parse_id(environment_id)
    row = next((item for item in here.environments if item.pk == key), None)
    if row is None:
        raise Http404
    authorize(here.actor, "organization.write", row)

    def run(values: dict[str, Any]) -> str:
        change_protection(actor=here.actor, environment=row, protected=not row.protected, reason=values["reason"])
        return f"{row} is {'protected' if row.protected else 'not protected any more'}."

    return perform(request, run, back=here.url("settings"))


def _form(request: HttpRequest, here: Place, form: forms.Form, run: Any, *, title: str, text: str) -> HttpResponse:
    back = here.url("settings")
    reply = submit(request, form, run, back=back) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/form.html", title=title, form=form, submit=text, back=back, back_title="Settings"
    )
