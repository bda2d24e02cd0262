"""A project's own Django apps: found by their folders, behind the login, and blamed for what they break."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import include, path

from headwater.control.kit.own_apps import _behind_login, blaming, own_apps, own_tasks
from headwater.core.errors import HeadwaterError


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("own_")]:
        del sys.modules[name]


def write(project: Path, app: str, **modules: str) -> None:
    folder = project / "control" / app
    folder.mkdir(parents=True)
    for name, text in {"__init__": "", **modules}.items():
        (folder / f"{name}.py").write_text(text)


def test_every_package_below_control_is_an_app(project: Path) -> None:
    write(project, "own_b", tasks="x = 1")
    write(project, "own_a")
    (project / "control" / "notes").mkdir()
    assert own_apps(project) == ["own_a", "own_b"]
    assert own_tasks(["own_a", "own_b"]) == ["own_b.tasks"]


@pytest.mark.parametrize("project", [None, Path("/nowhere")])
def test_a_project_without_apps_has_none(project: Path | None) -> None:
    assert own_apps(project) == []


@pytest.mark.parametrize("name", ["json", "headwater", "django"])
def test_an_app_cannot_stand_in_for_another_module(project: Path, name: str) -> None:
    write(project, name)
    with pytest.raises(HeadwaterError, match="there is another module"):
        own_apps(project)


@pytest.mark.parametrize("name", ["my-app", "class"])
def test_a_name_that_python_cannot_import_is_refused(project: Path, name: str) -> None:
    write(project, name)
    with pytest.raises(HeadwaterError, match="a name that Python can import"):
        own_apps(project)


def view(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("inside")


@login_not_required
def open_view(_request: HttpRequest) -> HttpResponse:
    return HttpResponse("open")


def test_views_are_for_people_who_are_signed_in_unless_they_say_otherwise() -> None:
    inner = [path("deep/", view)]
    patterns = _behind_login([path("", view), path("open/", open_view), path("in/", include(inner))])
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    codes = [p.callback(request).status_code for p in (*patterns[:2], *patterns[2].url_patterns)]  # type: ignore[union-attr]
    assert codes == [302, 200, 302]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nimport nowhere", "control/own_c/models.py, line 2: ModuleNotFoundError: No module named 'nowhere'"),
        ("x = (", "control/own_c/models.py, line 1: SyntaxError"),
    ],
)
def test_an_app_that_breaks_the_start_is_named_with_its_line(project: Path, text: str, said: str) -> None:
    write(project, "own_c", models=text)
    own_apps(project)
    with pytest.raises(HeadwaterError) as caught, blaming(project):
        __import__("own_c.models")
    assert caught.value.code == "project_invalid"
    assert said in caught.value.detail


def test_other_errors_of_the_start_are_left_alone(project: Path) -> None:
    with pytest.raises(ZeroDivisionError), blaming(project):
        raise ZeroDivisionError
