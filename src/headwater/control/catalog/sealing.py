"""Where migrations that were written before ``kit.sealed_tables`` look for ``Seal``."""

from __future__ import annotations

from headwater.control.kit.sealed_tables import Seal as Seal  # noqa: PLC0414 - re-exported
