"""Errors in words: what happened and the cure on stderr, never a traceback for what a person can mend."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Any, Final

from headwater.client.errors import ApiError, ClientError, Unreachable
from headwater.core.errors import HeadwaterError

#: Called wrongly, rather than failed.
_USAGE: Final = frozenset({"setting_invalid", "invalid_parameter"})
_SHOWN_ERRORS: Final = 20


def explain(error: Exception, *, as_json: bool) -> int:
    """Write the error to stderr and return the exit code."""
    facts = _facts(error)
    if facts is None:
        traceback.print_exception(error)
        facts = {"code": "internal", "detail": f"{type(error).__name__}: {error}"}
        facts["hint"] = "this is a bug in Headwater; please report it with the lines above"
    if as_json:
        sys.stderr.write(json.dumps({"error": facts}) + "\n")
    else:
        sys.stderr.write(_in_words(facts))
    return 2 if facts["code"] in _USAGE else 1


def _facts(error: Exception) -> dict[str, Any] | None:
    """Return code, detail, hint and errors of what a person can mend, None for a bug."""
    if isinstance(error, HeadwaterError):
        return {"code": error.code, "detail": error.detail, "hint": error.hint, **error.extra}
    if isinstance(error, ApiError):
        return {**error.problem, "code": error.code, "detail": _placed(error, error.detail), "hint": error.hint}
    if isinstance(error, Unreachable):
        return {"code": "unreachable", "detail": str(error), "hint": "is it running? `headwater doctor` looks"}
    if isinstance(error, ClientError):
        return {"code": "input", "detail": _placed(error, str(error)), "hint": None}
    return _machine_facts(error)


def _placed(error: ClientError, detail: str) -> str:
    """Return the detail behind the places that the error's notes name, such as the file that was being sent."""
    return ": ".join([*getattr(error, "__notes__", ()), detail])


def _machine_facts(error: Exception) -> dict[str, Any] | None:
    """Return the same for what files and databases raise."""
    if type(error).__name__ == "OperationalError" and type(error).__module__ == "django.db.utils":
        hint = "try again; if it stays so, check database.url and who else writes to it"
        detail = f"the control database cannot be used now: {str(error).strip()}"
        return {"code": "config_unavailable", "detail": detail, "hint": hint}
    if isinstance(error, OSError) and error.filename is not None:
        return {"code": "file", "detail": f"{os.fsdecode(error.filename)}: {error.strerror}", "hint": None}
    return None


def _in_words(facts: dict[str, Any]) -> str:
    lines = [f"error: {facts['detail']} ({facts['code']})"]
    errors = list(facts.get("errors") or ())
    # The one that the sentence says already is not said again; others may read the same elsewhere.
    if (told := next((one for one in errors if str(one.get("message", one)) in facts["detail"]), None)) is not None:
        errors.remove(told)
    for one in errors[:_SHOWN_ERRORS]:
        place = ":".join(str(one[name]) for name in ("source", "path") if one.get(name))
        lines.append(f"  {place}: {one.get('message', one)}" if place else f"  {one.get('message', one)}")
    if len(errors) > _SHOWN_ERRORS:
        lines.append(f"  … and {len(errors) - _SHOWN_ERRORS} more")
    if facts.get("hint"):
        lines.append(f" hint: {facts['hint']}")
    return "\n".join(lines) + "\n"
