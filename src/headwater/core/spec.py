"""The base of everything that travels in a snapshot."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A frozen piece of a snapshot; unknown members are ignored so that older services read newer ones."""

    model_config = ConfigDict(frozen=True, extra="ignore")
