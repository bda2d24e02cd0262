"""Whether who calls the versions that answer now could call another one: the check of a version's signature."""

from __future__ import annotations

from headwater.control.registry.demands import CheckResult, listed
from headwater.control.registry.models import Deployment, Model, ModelVersion
from headwater.control.registry.parity import Signature, compare_signatures


def check_signature(version: ModelVersion) -> CheckResult:
    """Hold a version's signature against those of the versions that answer now, in any environment."""
    signature = (version.inputs, version.outputs, version.features)
    return check_parity(version.model, signature, but=version.number)


def check_parity(model: Model | None, signature: Signature, *, but: int | None = None) -> CheckResult:
    """Hold a signature against those of the versions of ``model`` that answer now, ``but`` one."""
    served = _served(model, but) if model is not None else {}
    if not served:
        return CheckResult("signature", "skipped", "no other version is served to compare with")
    compared = {version: compare_signatures(_signature(version), signature) for version in served}
    breaking = [
        f"{change} (against version {version.number}, served in {', '.join(served[version])})"
        for version, changes in compared.items()
        for change in changes
        if change.breaking
    ]
    if breaking:
        return CheckResult("signature", "failed", listed(breaking))
    changes = sorted({str(change) for found in compared.values() for change in found})
    numbers = ", ".join(str(version.number) for version in served)
    return CheckResult("signature", "passed", listed(changes) if changes else f"the same as of version {numbers}")


def _served(model: Model, but: int | None) -> dict[ModelVersion, list[str]]:
    """Return the primary versions with the environments that they answer in."""
    rows = Deployment.objects.for_org(model.org_id).filter(model=model, role=Deployment.Role.PRIMARY)
    served: dict[ModelVersion, list[str]] = {}
    for row in rows.select_related("version", "environment").order_by("environment__key"):
        if row.version.number != but:
            served.setdefault(row.version, []).append(row.environment.key)
    return served


def _signature(version: ModelVersion) -> Signature:
    return version.inputs, version.outputs, version.features
