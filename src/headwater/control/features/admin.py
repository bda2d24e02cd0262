"""Feature views in the admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Prefetch, prefetch_related_objects
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern

from headwater.control.console.model_admin import ConsoleModelAdmin, acting
from headwater.control.features.actions import archive_view
from headwater.control.features.models import FeatureView, FeatureViewRevision
from headwater.engines.features.windows import format_seconds


@admin.register(FeatureView)
class FeatureViewAdmin(ConsoleModelAdmin):
    """Feature views, each with its features and where they come from."""

    view_permission: ClassVar[str | None] = "feature.read"
    list_display = ("name", "environment", "dataset", "org", "description", "revision_number", "archived_at")
    list_select_related = ("environment__project", "dataset", "org")
    list_filter = (("environment", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("name", "description", "dataset__name")

    @admin.display(description="revision")
    def revision_number(self, row: FeatureView) -> int | str:
        """Return the number of the revision in force."""
        return max((revision.number for revision in row.revisions.all()), default="none")

    def fill(self, rows: list[Any]) -> None:
        """Fetch the numbers of the revisions."""
        prefetch_related_objects(rows, Prefetch("revisions", FeatureViewRevision.unscoped.only("view_id", "number")))

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of actions."""
        return [self.address("<uuid:pk>/archive/", self.archive, "archive"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a view with its features."""
        del form_url
        view = self.row(request, object_id)
        revisions = list(FeatureViewRevision.objects.for_org(view.org_id).filter(view=view)[:20])
        chosen = next((r for r in revisions if str(r.number) == request.GET.get("revision")), None)
        revision = chosen or next(iter(revisions), None)
        return self.page(
            request, "console/admin/feature_view.html", view.name, original=view, view_row=view, revisions=revisions,
            revision=revision, features=_features(revision), times=_times(revision), **(extra_context or {}),
        )  # fmt: skip

    def archive(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Stop serving a view."""
        view = self.row(request, pk)

        def run(values: dict[str, Any]) -> str:
            archive_view(actor=acting(request), view=view, reason=values["reason"])
            return f"{view} is not served any more."

        return self.act(
            request, run, title=f"Archive {view}", submit="Archive", back=self.link("change", pk), danger=True,
            explanation="Reads of it answer 404 within a second, and models that need it answer errors. "
            "Applying a project that declares it serves it again.",
            original=view,
        )  # fmt: skip


def _features(revision: FeatureViewRevision | None) -> list[dict[str, Any]]:
    """Return the features with where each comes from in words."""
    return [{**feature, "origin": _origin(feature)} for feature in (revision.spec["features"] if revision else ())]


def _origin(feature: dict[str, Any]) -> str:
    if feature["kind"] == "expression":
        return str(feature["expression"])
    if feature["kind"] == "column":
        return f"newest {feature['column']}"
    what = f"{feature['aggregate']} of {feature['column'] or 'rows'}"
    return f"{what} over {format_seconds(feature['window_seconds'])}"


def _times(revision: FeatureViewRevision | None) -> dict[str, str]:
    spec = revision.spec if revision else {}
    seconds = {name: spec.get(f"{name}_seconds") for name in ("freshness", "delay")}
    return {name: format_seconds(value) if value else "none" for name, value in seconds.items()}
