"""The ingest service: rows in, verdicts out, nothing lost."""

from __future__ import annotations

from headwater.services.ingest.service import IngestService, create

__all__ = ["IngestService", "create"]
