"""Alerts and reports in the admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern

from headwater.control.console.model_admin import ConsoleModelAdmin
from headwater.control.monitoring.export import body_context, respond
from headwater.control.monitoring.links import DEFAULT_WINDOW, FORMATS, WINDOWS, report_link
from headwater.control.monitoring.models import ModelAlert
from headwater.control.monitoring.queries import ReportView, environments_of, gather_report
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import ModelVersion
from headwater.core.errors import HeadwaterError


class ReportPages(ConsoleModelAdmin):
    """The report of a version and its exports, for the page of versions to derive from."""

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the report."""
        return [
            self.address("<uuid:pk>/report/", self.report, "report"),
            *(self.address(f"<uuid:pk>/report.{form}", self._exporter(form), f"report_{form}") for form in FORMATS),
            *super().get_urls(),
        ]

    def report(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Show the report of a version."""
        version: ModelVersion = self.row(request, pk)
        view, environments = self._view(request, version)
        here = view.environment
        context = body_context(view, standalone=False) | {
            "environments": environments,
            "windows": list(WINDOWS),
            "exports": [(form, report_link(version, here, window=view.window, form=form)) for form in FORMATS],
        }
        return self.page(request, "monitoring/report.html", f"Report of {version}", original=version, **context)

    def _exporter(self, form: str) -> Any:
        def export(request: HttpRequest, pk: Any) -> HttpResponse:
            view, _ = self._view(request, self.row(request, pk))
            try:
                return respond(view, form)
            except HeadwaterError as error:
                return HttpResponse(f"{error.detail}\n", status=error.status, content_type="text/plain; charset=utf-8")

        return export

    def _view(self, request: HttpRequest, version: ModelVersion) -> tuple[ReportView, list[tuple[Environment, str]]]:
        """Return the report that a request asks for, and the environments there are to choose from."""
        environments = environments_of(version)
        asked = request.GET.get("environment", "")
        found = next((one for one, _ in environments if one.key == asked), None)
        if found is None:
            if asked or not environments:
                raise Http404
            found = environments[0][0]
        window = request.GET.get("window", DEFAULT_WINDOW)
        if window not in WINDOWS:
            raise Http404
        return gather_report(version, found, window), environments


@admin.register(ModelAlert)
class ModelAlertAdmin(ConsoleModelAdmin):
    """Alerts about models, those that stand first."""

    view_permission: ClassVar[str | None] = "model.read"
    list_display = ("subject", "version", "environment", "state", "value", "threshold", "since", "cleared_at")
    list_select_related = ("version__model", "environment__project")
    list_filter = ("metric", ("cleared_at", admin.EmptyFieldListFilter))
    search_fields = ("field", "version__model__name", "metric")
    ordering = ("-raised_at",)

    @admin.display(description="value", ordering="latest")
    def value(self, row: ModelAlert) -> str:
        """Return the newest value."""
        return row.value_text

    @admin.display(description="threshold", ordering="threshold")
    def threshold(self, row: ModelAlert) -> str:
        """Return the threshold."""
        return row.threshold_text

    @admin.display(description="state", ordering="cleared_at")
    def state(self, row: ModelAlert) -> str:
        """Return whether it stands."""
        return "raised" if row.stands else "cleared"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show an alert with the rows behind it."""
        del form_url
        alert: ModelAlert = self.row(request, object_id)
        context = {"alert": alert, "report": report_link(alert.version, alert.environment)} | (extra_context or {})
        return self.page(request, "monitoring/alert.html", str(alert), original=alert, **context)
