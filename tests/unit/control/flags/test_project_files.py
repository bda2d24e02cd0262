"""Flag files: planned with a diff, applied, and silent about what they do not say."""

from __future__ import annotations

import pytest
from tests.builders.control import newest_snapshot

from headwater.control.catalog.apply import apply_project, plan_project
from headwater.control.catalog.payload import Outcome, ResourceFile, Resources
from headwater.control.flags.actions import archive_flag, config_of, toggle_flag
from headwater.control.flags.models import Flag
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

FLAG = """\
description: Which delay counts as late
type: integer
variants: {strict: 15, relaxed: 30}
off: relaxed
owner: data-team
remove_by: 2027-03-01
default: relaxed
rules:
  - {when: "carrier in ('AA', 'UA')", variant: strict}
  - variant: strict
    share: 10%
    steps: [{at: "2030-12-01T08:00:00Z", share: 50%}]
environments:
  dev: {enabled: true}
"""
BASE = "owner: data-team\nkind: permanent\n"


def project(**files: str) -> Resources:
    return Resources(
        flags=tuple(
            ResourceFile(source=f"flags/{name.replace('_', '-')}.yaml", text=text) for name, text in files.items()
        )
    )


def about(outcome: Outcome, name: str = "late-after") -> tuple[str, str]:
    change = next(change for change in outcome.changes if (change.kind, change.name) == ("flag", name))
    return change.action, "; ".join(change.details)


def test_a_flag_is_planned_applied_and_then_unchanged(environment: Environment, owner: Actor) -> None:
    files = project(late_after=FLAG)
    action, details = about(plan_project(actor=owner, environment=environment, resources=files))
    assert action == "create"
    assert "integer: strict, relaxed" in details
    assert "rule 1 added: those where carrier in ('AA', 'UA') gets strict" in details
    assert "rule 2 added: 10% of everybody gets strict; 50% from 2030-12-01 08:00 UTC" in details
    assert not Flag.objects.for_org(environment.org_id).exists()
    apply_project(actor=owner, environment=environment, resources=files)
    spec = newest_snapshot(environment).flags["late-after"]
    assert (spec.enabled, spec.off_variant, len(spec.rules), spec.rules[1].share_bps) == (True, "relaxed", 2, 1_000)
    assert about(plan_project(actor=owner, environment=environment, resources=files)) == ("unchanged", "")


def test_a_plan_shows_what_differs(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project(late_after=FLAG))
    changed = FLAG.replace("share: 10%", "share: 25%").replace("strict: 15", "strict: 20")
    files = project(late_after=changed)
    action, details = about(plan_project(actor=owner, environment=environment, resources=files))
    assert action == "update"
    assert "variant strict: 15 → 20" in details
    assert "rule 2: 10% of everybody gets strict" in details
    assert "→ 25% of everybody gets strict" in details
    apply_project(actor=owner, environment=environment, resources=files)
    assert newest_snapshot(environment).flags["late-after"].variants["strict"] == 20


def test_what_a_file_does_not_say_stays_as_people_set_it(environment: Environment, owner: Actor) -> None:
    files = project(late_after=FLAG.replace("environments:\n  dev: {enabled: true}\n", ""))
    apply_project(actor=owner, environment=environment, resources=files)
    flag = Flag.objects.for_org(environment.org_id).get()
    toggle_flag(actor=owner, config=config_of(flag, environment), enabled=True)
    assert about(apply_project(actor=owner, environment=environment, resources=files)) == ("unchanged", "")
    assert newest_snapshot(environment).flags["late-after"].enabled


def test_flags_may_build_on_flags_of_the_same_directory(environment: Environment, owner: Actor) -> None:
    on_it = BASE + "prerequisites: [{flag: late-after, variant: strict}]\n"
    apply_project(actor=owner, environment=environment, resources=project(a_first=on_it, late_after=FLAG))
    served = newest_snapshot(environment).flags["a-first"]
    assert served.prerequisites[0].variants == ("strict",)


def test_a_flag_that_is_gone_from_the_directory_is_left_alone(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project(late_after=FLAG))
    action, details = about(plan_project(actor=owner, environment=environment, resources=project()))
    assert (action, "left alone" in details) == ("unchanged", True)


def test_applying_serves_an_archived_flag_again(environment: Environment, owner: Actor) -> None:
    files = project(late_after=FLAG)
    apply_project(actor=owner, environment=environment, resources=files)
    archive_flag(actor=owner, flag=Flag.objects.for_org(environment.org_id).get())
    assert "late-after" not in newest_snapshot(environment).flags
    assert about(apply_project(actor=owner, environment=environment, resources=files)) == (
        "update", "is served again",
    )  # fmt: skip
    assert "late-after" in newest_snapshot(environment).flags


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("owner: [", "", "YAML"),
        ("- a", "", "mapping"),
        ("type: boolean\n", "owner", "required"),
        (BASE + "color: red\n", "color", "not permitted"),
        (BASE + "rules: [{share: 101%, variant: 'on'}]\n", "rules[0].share", "0% to 100%"),
        (BASE + "rules: [{share: ten, variant: 'on'}]\n", "rules[0].share", "no share"),
        (BASE + "rules: [{when: 'x +', variant: 'on'}]\n", "rules[0].when", "character"),
        (BASE + "from: 2026-01-01T00:00:00\n", "from", "timezone"),
        (BASE + "prerequisites: [{flag: gone, variant: 'on'}]\n", "prerequisites[0].flag", "no flag 'gone'"),
        (BASE + "variants: {a: 1}\n", "variants.a", "true or false"),
        (BASE + "key: Bad Key\n", "key", "pattern"),
    ],
)
def test_everything_wrong_with_a_file_is_named_with_its_place(
    environment: Environment, owner: Actor, text: str, path: str, words: str
) -> None:
    with pytest.raises(HeadwaterError) as caught:
        plan_project(actor=owner, environment=environment, resources=project(mine=text))
    fault = caught.value.extra["errors"][0]
    assert fault["source"] == "flags/mine.yaml"
    assert fault["path"].startswith(path)
    assert words in fault["message"]


def test_a_file_cannot_change_a_flags_type(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project(late_after=FLAG))
    with pytest.raises(HeadwaterError) as caught:
        plan_project(actor=owner, environment=environment, resources=project(late_after=BASE))
    assert "cannot change" in caught.value.extra["errors"][0]["message"]
