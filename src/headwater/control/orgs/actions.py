"""What can be done to organisations, projects and environments."""

from __future__ import annotations

from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment, Organization, Project


@action("orgs.organization.created", permission=None)
def create_organization(*, actor: Actor, slug: str, name: str = "") -> Organization:
    """Make an organisation; raises ``conflict`` when the slug is taken."""
    org = Organization(slug=slug, name=name or slug)
    org.save()
    return org


@action("orgs.organization.renamed", permission="organization.write", on="org")
def rename_organization(*, actor: Actor, org: Organization, name: str) -> Organization:
    """Change the name people see; the slug stays."""
    org.change(name=name)
    return org


@action("orgs.organization.suspended", permission=None)
def suspend_organization(*, actor: Actor, org: Organization, reason: str) -> Organization:
    """Stop serving an organisation: its keys open nothing until it is reactivated."""
    org.change(status=Organization.Status.SUSPENDED)
    return org


@action("orgs.organization.reactivated", permission=None)
def reactivate_organization(*, actor: Actor, org: Organization, reason: str = "") -> Organization:
    """Serve a suspended organisation again."""
    org.change(status=Organization.Status.ACTIVE)
    return org


@action("orgs.project.created", permission="organization.write", on="org")
def create_project(*, actor: Actor, org: Organization, slug: str, name: str = "") -> Project:
    """Make a project; raises ``conflict`` when the organisation has one of that slug."""
    project = Project(org=org, slug=slug, name=name or slug)
    project.save()
    return project


@action("orgs.project.renamed", permission="organization.write", on="project")
def rename_project(*, actor: Actor, project: Project, name: str) -> Project:
    """Change the name people see; the slug stays."""
    project.change(name=name)
    return project


@action("orgs.environment.created", permission="organization.write", on="project")
def create_environment(*, actor: Actor, project: Project, key: str, protected: bool = False) -> Environment:
    """Make an environment; raises ``conflict`` when the project has one of that key."""
    environment = Environment(org=project.org, project=project, key=key, protected=protected)
    environment.save()
    return environment


@action("orgs.environment.protection_changed", permission="organization.write", on="environment")
def change_protection(*, actor: Actor, environment: Environment, protected: bool, reason: str = "") -> Environment:
    """Protect an environment, or cease to."""
    environment.change(protected=protected)
    return environment
