"""The set-up before control starts, in a process of its own: ``python -m headwater.cli.prepare``.

Its answer goes to stdout for the supervisor, its log to stderr.
"""

from __future__ import annotations

import sys
from urllib.parse import urlencode

from headwater.cli.failure import explain
from headwater.cli.project.files import collect
from headwater.cli.project.local import apply_here
from headwater.cli.project.payload import Project
from headwater.cli.supervisor.setup import SetUp, write_setup
from headwater.control.bootstrap import bootstrap
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.lean import keep_pandas_out
from headwater.core.logging import configure_logging, get_logger
from headwater.core.settings import Settings, load_settings
from headwater.engines.query.endpoint_file import parse_endpoint

_log = get_logger(__name__)


def prepare(settings: Settings) -> SetUp:
    """Make what a first start needs, apply the project, and say what there is to tell.

    A project that cannot be applied stops nothing: what was applied before stays in force, and the answer says why.
    """
    first = bootstrap(settings)
    home = Home(settings.home)
    problem, project = None, None
    if settings.project is not None:
        try:
            project = collect(settings.project)
            for name in project.unbuilt:
                _log.info("a model without its artifact is left out; apply again once the file is there", model=name)
            outcome = apply_here(settings, project)
            _log.info("project_applied", project=str(settings.project), **outcome.tally())
        except HeadwaterError as error:
            explain(error, as_json=False)
            problem = error.detail
    return SetUp(
        email=first.admin_email,
        password=first.admin_password,
        api_key=home.demo_key.read_text(encoding="ascii").strip(),
        try_path=try_path(project),
        problem=problem,
        strangers=list(first.strangers),
    )


def try_path(project: Project | None) -> str:
    """Return a path that answers a GET: the first endpoint that its parameters allow, else the list of datasets."""
    for file in project.resources["endpoints"] if project else ():
        try:
            endpoint = parse_endpoint(file["text"], source=file["source"])
        except HeadwaterError:
            continue
        example = endpoint.examples[0] if endpoint.examples else {}
        if all(parameter.name in example for parameter in endpoint.parameters if parameter.required):
            query = urlencode({name: value for name, value in example.items() if value is not None})
            return f"/v1/endpoints/{endpoint.name}" + (f"?{query}" if query else "")
    return "/v1/datasets"


def main() -> None:
    """Run with the settings of the environment."""
    try:
        keep_pandas_out()
        settings = load_settings()
        configure_logging(settings.log, process="setup")
        answer = write_setup(prepare(settings))
    except Exception as error:  # noqa: BLE001 - the one place where errors become words
        sys.exit(explain(error, as_json=False))
    sys.stdout.write(answer)


if __name__ == "__main__":
    main()
