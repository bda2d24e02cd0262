"""The tables that an environment's SQL may read once a project is applied, with their columns.

Quarantined rows are not among them: they hold what contracts refused, whatever its classification, and are shown by
the quarantine routes alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from headwater.contracts.model import Contract
from headwater.contracts.spec import contract_from_spec
from headwater.contracts.tabulation import accepted_schema
from headwater.control.catalog.models import Activation
from headwater.control.catalog.project import Project
from headwater.control.flags.models import Flag
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import Deployment
from headwater.core.snapshot import OutputSpec
from headwater.core.streams import EXPOSURES, OUTCOMES, QUERY_LOG, batch_log, prediction_log
from headwater.engines.flags.exposures import EXPOSURE_SCHEMA
from headwater.engines.query.log_schema import QUERY_LOG_SCHEMA
from headwater.engines.query.tables import SYSTEM_COLUMNS


def table_schemas(environment: Environment, project: Project) -> Mapping[str, pa.Schema]:
    """Return the schema of every dataset, of predictions and outcomes; what the project declares comes first."""
    contracts: dict[str, Contract] = {}
    activations = Activation.objects.for_org(environment.org_id).filter(environment=environment)
    for activation in activations.select_related("dataset", "contract"):
        if activation.dataset.name not in project.datasets:
            contracts[activation.dataset.name] = contract_from_spec(activation.contract.spec)
    contracts |= {name: item.contract for name, item in project.datasets.items()}
    schemas = {name: _with_system(accepted_schema(contract)) for name, contract in contracts.items()}
    if project.flags or Flag.objects.for_org(environment.org_id).filter(project_id=environment.project_id).exists():
        schemas[EXPOSURES] = _with_system(EXPOSURE_SCHEMA)
    schemas.setdefault(QUERY_LOG, _with_system(QUERY_LOG_SCHEMA))
    return schemas | _prediction_logs(environment, project)


def _prediction_logs(environment: Environment, project: Project) -> dict[str, pa.Schema]:
    deployments = list(
        Deployment.objects.for_org(environment.org_id)
        .filter(environment=environment, role=Deployment.Role.PRIMARY)
        .select_related("model", "version")
    )
    if not deployments and not project.models:
        return {}
    from headwater.engines.models.batch_schema import batch_schema  # noqa: PLC0415 - loads numpy and more
    from headwater.engines.models.log_schema import OUTCOME_SCHEMA, log_schema  # noqa: PLC0415 - as above

    logs = {OUTCOMES: _with_system(OUTCOME_SCHEMA)}
    for deployment in deployments:
        version = deployment.version
        outputs = [OutputSpec.model_validate(output) for output in version.outputs]
        fields = contract_from_spec(version.inputs).fields
        logs[prediction_log(deployment.model.name)] = _with_system(log_schema(fields, outputs))
        logs[batch_log(deployment.model.name)] = _with_system(batch_schema(fields, outputs))
    for name, item in project.models.items():
        manifest = item.manifest
        logs[prediction_log(name)] = _with_system(log_schema(manifest.inputs.fields, manifest.outputs))
        logs[batch_log(name)] = _with_system(batch_schema(manifest.inputs.fields, manifest.outputs))
    return logs


def _with_system(schema: pa.Schema) -> pa.Schema:
    return pa.schema([*schema, *SYSTEM_COLUMNS])
