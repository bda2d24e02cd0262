"""Datasets, contracts, endpoints and quarantine in the admin."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.contrib import admin
from django.db.models import Prefetch, prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from headwater.control.catalog.actions import activate_contract, archive_dataset, archive_endpoint, restore_dataset
from headwater.control.catalog.models import (
    Activation,
    ContractVersion,
    Dataset,
    Endpoint,
    EndpointRevision,
    QuarantineCase,
)
from headwater.control.catalog.quarantine import discard_case, replay_case
from headwater.control.console.dataset_page import dataset_context
from headwater.control.console.model_admin import ConsoleModelAdmin, acting
from headwater.control.orgs.models import Environment

_REPLAY: Final = """The rows go through the contract that is active now. Those that pass are stored, those that fail
again stay in quarantine; no row is ever stored twice."""
_DISCARD: Final = """The rows are given up. They can be read until their retention ends, and are not offered for replay
any more."""
_VERDICTS: Final = {
    "replay": (replay_case, "Replay", "replayed", _REPLAY),
    "discard": (discard_case, "Discard", "discarded", _DISCARD),
}


@admin.register(Dataset)
class DatasetAdmin(ConsoleModelAdmin):
    """Datasets, each with a page of operations."""

    view_permission: ClassVar[str | None] = "dataset.read"
    list_display = ("name", "project", "org", "active_contracts", "archived_at")
    list_select_related = ("project", "org")
    list_filter = (("project", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("name", "description")

    @admin.display(description="active contracts")
    def active_contracts(self, row: Dataset) -> str:
        """Return the active version of each environment."""
        active = row.activations.all()
        return ", ".join(f"{item.environment.key}: {item.contract.version}" for item in active) or "none"

    def fill(self, rows: list[Any]) -> None:
        """Fetch the active versions."""
        active = Activation.unscoped.select_related("environment", "contract").order_by("environment__key")
        prefetch_related_objects(rows, Prefetch("activations", active.defer("contract__spec", "contract__source")))

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of actions."""
        return [
            self.address("<uuid:pk>/archive/", self.archive, "archive"),
            self.address("<uuid:pk>/restore/", self.restore, "restore"),
            self.address("<uuid:pk>/<uuid:environment>/activate/<int:number>/", self.activate, "activate"),
            self.address("<uuid:pk>/<uuid:environment>/<str:verdict>/", self.resolve, "resolve"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the page of one dataset in one environment."""
        del form_url
        dataset = self.row(request, object_id)
        context = dataset_context(dataset, request.GET.get("environment", ""), reader=request.user)
        return self.page(
            request, "console/admin/dataset.html", dataset.name, original=dataset, **context, **(extra_context or {})
        )

    def archive(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Stop a dataset from taking rows."""
        dataset = self.row(request, pk)

        def run(values: dict[str, Any]) -> str:
            archive_dataset(actor=acting(request), dataset=dataset, reason=values["reason"])
            return f"{dataset} takes no more rows."

        return self.act(
            request, run, title=f"Archive {dataset}", submit="Archive", back=self.link("change", pk), danger=True,
            explanation="It takes no more rows. What it holds stays and can be read.", original=dataset,
        )  # fmt: skip

    def restore(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Let a dataset take rows again."""
        dataset = self.row(request, pk)

        def run(values: dict[str, Any]) -> str:
            restore_dataset(actor=acting(request), dataset=dataset, reason=values["reason"])
            return f"{dataset} takes rows again."

        return self.act(
            request, run, title=f"Restore {dataset}", submit="Restore", back=self.link("change", pk), original=dataset
        )

    def activate(self, request: HttpRequest, pk: Any, environment: Any, number: int) -> HttpResponse:
        """Hold an environment's rows against another contract version."""
        dataset = self.row(request, pk)
        where = _environment(dataset, environment)
        version = dataset.versions.filter(number=number).select_related("dataset").first()
        if version is None:
            raise Http404

        def run(values: dict[str, Any]) -> str:
            activate_contract(actor=acting(request), contract=version, environment=where, reason=values["reason"])
            return f"{version} is active in {where.key}."

        back = f"{self.link('change', pk)}?environment={where.pk}"
        return self.act(
            request, run, title=f"Activate {version} in {where.key}", submit="Activate", back=back, original=dataset,
            explanation="Rows are held against it within a second. The version before stays usable by its name.",
        )  # fmt: skip

    def resolve(self, request: HttpRequest, pk: Any, environment: Any, verdict: str) -> HttpResponse:
        """Replay or discard a quarantine group."""
        dataset = self.row(request, pk)
        where = _environment(dataset, environment)
        if verdict not in _VERDICTS:
            raise Http404
        resolve, submit, done, explanation = _VERDICTS[verdict]
        fingerprint = request.GET.get("fingerprint", "")

        def run(values: dict[str, Any]) -> str:
            resolution = resolve(
                actor=acting(request),
                dataset=dataset,
                environment=where,
                fingerprint=fingerprint,
                reason=values["reason"],
            )
            counts = ", ".join(f"{count:,} {name}" for name, count in resolution.counts.items() if count)
            return f"The group was {done}: {counts or 'no row was waiting'}."

        back = f"{self.link('change', pk)}?environment={where.pk}#quarantine"
        return self.act(
            request, run, title=f"{submit} quarantined rows of {dataset}", submit=submit, back=back,
            explanation=explanation, danger=verdict == "discard", original=dataset,
        )  # fmt: skip


@admin.register(ContractVersion)
class ContractVersionAdmin(ConsoleModelAdmin):
    """Contract versions; sealed once they are no drafts."""

    view_permission: ClassVar[str | None] = "dataset.read"
    list_display = ("dataset", "version", "state", "created_at", "short_digest")
    list_select_related = ("dataset",)
    list_filter = ("state",)
    list_defer = ("spec", "source")
    ordering = ("dataset__name", "-number")
    search_fields = ("dataset__name", "version")
    fields = ("dataset", "version", "number", "state", "created_at", "spec_sha256", "text")
    readonly_fields = ("created_at", "text", "short_digest")

    @admin.display(description="sha256")
    def short_digest(self, row: ContractVersion) -> str:
        """Return the beginning of the digest."""
        return row.spec_sha256[:12]

    @admin.display(description="contract")
    def text(self, row: ContractVersion) -> SafeString:
        """Return the contract as it was written."""
        return format_html('<pre class="hw-code">{}</pre>', row.source)


@admin.register(Endpoint)
class EndpointAdmin(ConsoleModelAdmin):
    """SQL endpoints."""

    view_permission: ClassVar[str | None] = "endpoint.read"
    list_display = ("name", "environment", "org", "description", "revision_number", "archived_at")
    list_select_related = ("environment__project", "org")
    list_filter = (("environment", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("name", "description")

    @admin.display(description="revision")
    def revision_number(self, row: Endpoint) -> int | str:
        """Return the number of the revision served."""
        return max((revision.number for revision in row.revisions.all()), default="none")

    def fill(self, rows: list[Any]) -> None:
        """Fetch the numbers of the revisions."""
        prefetch_related_objects(rows, Prefetch("revisions", EndpointRevision.unscoped.only("endpoint_id", "number")))

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of actions."""
        return [self.address("<uuid:pk>/archive/", self.archive, "archive"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show an endpoint with its SQL."""
        del form_url
        endpoint = self.row(request, object_id)
        revisions = list(EndpointRevision.objects.for_org(endpoint.org_id).filter(endpoint=endpoint)[:20])
        chosen = next((r for r in revisions if str(r.number) == request.GET.get("revision")), None)
        return self.page(
            request, "console/admin/endpoint.html", endpoint.name, original=endpoint, endpoint=endpoint,
            revisions=revisions, revision=chosen or next(iter(revisions), None), **(extra_context or {}),
        )  # fmt: skip

    def archive(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Stop serving an endpoint."""
        endpoint = self.row(request, pk)

        def run(values: dict[str, Any]) -> str:
            archive_endpoint(actor=acting(request), endpoint=endpoint, reason=values["reason"])
            return f"{endpoint} is not served any more."

        return self.act(
            request, run, title=f"Archive {endpoint}", submit="Archive", back=self.link("change", pk), danger=True,
            explanation="It answers 404 within a second. Applying a project that declares it serves it again.",
            original=endpoint,
        )  # fmt: skip


@admin.register(QuarantineCase)
class QuarantineCaseAdmin(ConsoleModelAdmin):
    """What was decided about quarantine groups."""

    view_permission: ClassVar[str | None] = "quarantine.read"
    list_display = ("dataset", "environment", "code", "path", "open_count", "count", "state", "last_at")
    list_select_related = ("dataset", "environment__project")
    list_filter = ("state", "code")
    search_fields = ("dataset__name", "code", "path")
    ordering = ("-last_at",)


def _environment(dataset: Dataset, pk: Any) -> Environment:
    """Return an environment of the dataset's project, or answer 404."""
    rows = Environment.objects.for_org(dataset.org_id).filter(project_id=dataset.project_id, pk=pk)
    environment: Environment | None = rows.select_related("project", "org").first()
    if environment is None:
        raise Http404
    return environment
