"""``headwater review``: what waits in review queues, claimed and decided."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from headwater.cli.connect import require_control
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.session import Session, open_session
from headwater.cli.tables import draw_table, shown
from headwater.core.errors import HeadwaterError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, claim and decide review tasks.")
_QUEUE: Final = ("queue", "source", "about", "waiting", "claimed", "escalated", "overdue", "oldest", "problem")
_TASK: Final = ("task", "state", "what", "held by", "due")
TaskArgument = Annotated[str, typer.Argument(help="The task, such as rt_…")]


@app.command("list")
def list_tasks(
    queue: Annotated[str | None, typer.Argument(help="A queue's key; default: how all queues stand")] = None,
    *,
    state: Annotated[str, typer.Option(help="open, claimed, escalated, decided, …")] = "",
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the queues with what waits in them, or the tasks of one."""
    session = open_session(home, project, json=as_json)
    if queue is None:
        with require_control(session) as control:
            queues = control.request("GET", f"{_place(session)}/queues")["items"]
        session.answer({"queues": queues}, lambda console: draw_table(console, _QUEUE, map(_queue_row, queues)))
        return
    wanted = f"?queue={queue}" + (f"&state={state}" if state else "")
    with require_control(session) as control:
        tasks = control.request("GET", f"{_place(session)}/tasks{wanted}")
    session.answer(tasks, lambda console: draw_table(console, _TASK, map(_task_row, tasks["items"])))


@app.command()
def claim(
    what: Annotated[str, typer.Argument(help="A queue's key, for its most urgent task; or a task, such as rt_…")],
    *,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Claim a task and show it. Exit code 1 when the queue has none that you may decide."""
    session = open_session(home, project, json=as_json)
    with require_control(session) as control:
        if what.startswith("rt_"):
            task = control.request("POST", f"{_place(session)}/tasks/{what}/claim")
        else:
            task = control.request("POST", f"{_place(session)}/claim", json={"queue": what})
    if task is None:
        session.answer({"task": None}, lambda console: console.print(f"nothing waits for you in {what}"))
        raise typer.Exit(1)
    session.answer(task, lambda console: _draw_task(console, task))


@app.command()
def decide(
    task: TaskArgument,
    verdict: Annotated[str, typer.Argument(help="What is to become of it; `claim` shows which there are")],
    *,
    answer: Annotated[
        list[str] | None, typer.Option(help="An answer to the form: name=value, JSON or text; repeat it")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option(help="For the verdict correct: field=value, JSON or text; repeat it")
    ] = None,
    comment: Annotated[str, typer.Option(help="For other reviewers, and the log")] = "",
    supersede: Annotated[bool, typer.Option("--supersede", help="Correct what you said before")] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide a task that you hold."""
    session = open_session(home, project, json=as_json)
    body = {
        "verdict": verdict,
        "answers": read_pairs(answer or [], "--answer"),
        "changes": read_pairs(change or [], "--change"),
        "comment": comment,
        "supersede": supersede,
    }
    with require_control(session) as control:
        document = control.request("POST", f"{_place(session)}/tasks/{task}/decide", json=body)
    session.answer(document, lambda console: console.print(f"{document['id']} is {document['state']}: {verdict}"))


@app.command()
def release(
    task: TaskArgument, *, home: HomeOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """Give a task back undecided."""
    session = open_session(home, project, json=as_json)
    with require_control(session) as control:
        document = control.request("POST", f"{_place(session)}/tasks/{task}/release", json={})
    session.answer(document, lambda console: console.print(f"{document['id']} is {document['state']}"))


def read_pairs(texts: list[str], option: str) -> dict[str, Any]:
    """Return ``name=value`` pairs; a value that is JSON is taken as such, any other as text.

    Raises:
        HeadwaterError: ``invalid_parameter`` for one without a name.
    """
    pairs: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise HeadwaterError("invalid_parameter", f"{option} {text[:80]!r} is not name=value")
        try:
            pairs[name] = json.loads(value)
        except ValueError:
            pairs[name] = value
    return pairs


def _draw_task(console: Console, task: dict[str, Any]) -> None:
    console.print(f"{task['id']}  {shown(task['title'])}")
    console.print(f"yours until {_short(task['lease_expires_at'])} UTC; verdicts: {', '.join(task['verdicts'])}")
    for name in [field["name"] for field in (task["form"] or {}).get("fields", ())]:
        console.print(f"  --answer {name}=…")
    console.print(shown(json.dumps(task["payload"], indent=2, ensure_ascii=False)))


def _queue_row(one: dict[str, Any]) -> tuple[Any, ...]:
    standing = one["standing"]
    counts = (standing[name] for name in ("waiting", "claimed", "escalated", "overdue"))
    return (one["key"], one["source"], one["subject"], *counts, _short(standing["oldest_at"]), standing["problem"])


def _task_row(one: dict[str, Any]) -> tuple[Any, ...]:
    return (one["id"], one["state"], one["title"], one["lease_owner"], _short(one["due_at"]))


def _short(instant: str | None) -> str:
    return (instant or "")[:16].replace("T", " ")


def _place(session: Session) -> str:
    target = session.settings.target
    return f"/organizations/{target.organization}/projects/{target.project}/environments/{target.environment}/review"
