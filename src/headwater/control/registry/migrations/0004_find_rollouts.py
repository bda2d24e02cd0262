"""Write down what older releases routed as the first rollout of each model and environment."""

from collections import defaultdict
from typing import Any

from django.db import migrations

from headwater.core.ids import new_uuid


def find(apps: Any, _schema_editor: Any) -> None:
    rollout = apps.get_model("registry", "Rollout").unscoped
    by_place: dict[tuple[Any, Any], list[Any]] = defaultdict(list)
    deployments = apps.get_model("registry", "Deployment").unscoped.select_related("version")
    for deployment in deployments.order_by("created_at"):
        by_place[deployment.environment_id, deployment.model_id].append(deployment)
    for (environment_id, model_id), found in by_place.items():
        if rollout.filter(environment_id=environment_id, model_id=model_id).exists():
            continue
        rollout.create(
            id=new_uuid(),
            org_id=found[0].org_id,
            environment_id=environment_id,
            model_id=model_id,
            number=1,
            cause="found",
            champion_id=next((item.version_id for item in found if item.role == "primary"), None),
            routes=[
                {"version": item.version.number, "role": item.role, "weight_bps": item.weight_bps} for item in found
            ],
            by_id="system",
            by_label="Headwater",
            reason="served before rollouts were written down",
            created_at=max(item.created_at for item in found),
        )


class Migration(migrations.Migration):
    dependencies = [("registry", "0003_version_facts")]
    operations = [migrations.RunPython(find, migrations.RunPython.noop)]
