"""Project directories as they arrive at control, for tests of applying them."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.control.catalog.payload import ModelFile, ResourceFile, Resources

FLIGHTS = """\
apiVersion: v3.1.0
kind: DataContract
id: flights
name: flights
version: {version}
status: active
schema:
  - name: flights
    properties:
      - name: carrier
        logicalType: string
        required: true
      - name: delay
        logicalType: {delay}
{more}"""
WORST = """\
/*
description: The worst delay of each carrier
parameters:
  carrier: {type: string, max_length: 2}
*/
SELECT carrier, max(delay) AS worst FROM flights
WHERE $carrier IS NULL OR carrier = $carrier GROUP BY carrier
"""
RECENT = """\
dataset: flights
entities: [carrier]
event_time: at
features:
  - {name: delay, column: delay}
"""
DELAY_MODEL = """\
name: delay
description: How late a flight will be
artifact: model.onnx
inputs:
  - {name: distance, logicalType: number, required: true}
  - {name: hour, logicalType: number, required: true}
outputs:
  - {name: score, type: number}
metrics: {mae: 12.5}
"""


def flights(version: str = "1.0.0", *, delay: str = "number", more: str = "") -> str:
    """Return a contract; ``more`` are further lines of properties."""
    return FLIGHTS.format(version=version, delay=delay, more=more)


def resources(
    datasets: Mapping[str, str] | None = None,
    endpoints: Mapping[str, str] | None = None,
    models: Mapping[str, tuple[str, str]] | None = None,
    features: Mapping[str, str] | None = None,
) -> Resources:
    """Return a directory from texts by path; models are manifest and artifact's digest."""
    return Resources(
        datasets=tuple(ResourceFile(source=source, text=text) for source, text in (datasets or {}).items()),
        endpoints=tuple(ResourceFile(source=source, text=text) for source, text in (endpoints or {}).items()),
        features=tuple(ResourceFile(source=source, text=text) for source, text in (features or {}).items()),
        models=tuple(
            ModelFile(source=source, text=text, artifact_sha256=sha256)
            for source, (text, sha256) in (models or {}).items()
        ),
    )


def small_project() -> Resources:
    """Return one dataset with one endpoint on it."""
    return resources({"datasets/flights.yaml": flights()}, {"endpoints/worst.sql": WORST})
