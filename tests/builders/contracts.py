"""Contracts that touch every logical type and policy, for tests."""

from __future__ import annotations

from headwater.contracts.model import Constraints, Contract, Dedup, Field, LogicalType

T = LogicalType


def make_every_type(**changes: object) -> Contract:
    """Return a contract with a field of every type, optional ones, aliases, defaults and a nested struct."""
    point = Field(
        "point",
        T.STRUCT,
        required=False,
        nullable=True,
        fields=(Field("x", T.NUMBER), Field("at", T.TIMESTAMP, required=False, nullable=True)),
    )
    fields = (
        Field("key", T.STRING, constraints=Constraints(min_length=1, max_length=8), aliases=("k", "id")),
        Field("count", T.INTEGER, constraints=Constraints(ge=-5, le=1_000)),
        Field("big", T.INTEGER, required=False),
        Field("ratio", T.NUMBER, required=False, nullable=True, constraints=Constraints(gt=-1e300)),
        Field("step", T.NUMBER, required=False, constraints=Constraints(multiple_of=0.5)),
        Field("price", T.DECIMAL, precision=10, scale=2, required=False, constraints=Constraints(ge=0)),
        Field("flag", T.BOOLEAN, has_default=True, default=False),
        Field("level", T.STRING, required=False, constraints=Constraints(enum=("low", "high"))),
        Field("code", T.STRING, required=False, constraints=Constraints(pattern="[A-Z]{2,3}")),
        Field("mail", T.STRING, required=False, constraints=Constraints(format="email")),
        Field("at", T.TIMESTAMP, required=False, constraints=Constraints(ge="1990-01-01T00:00:00Z")),
        Field("local", T.TIMESTAMP, required=False, default_timezone="Europe/Paris"),
        Field("epoch", T.TIMESTAMP, required=False, constraints=Constraints(format="epoch_ms")),
        Field("day", T.DATE, required=False, constraints=Constraints(le="2030-12-31")),
        Field("clock", T.TIME, required=False, constraints=Constraints(lt="20:00:00")),
        Field("uid", T.UUID, required=False),
        Field("blob", T.BINARY, required=False, constraints=Constraints(max_length=4)),
        Field("free", T.JSON, required=False, nullable=True),
        Field("doc", T.JSON, required=False, constraints=Constraints(format="object")),
        Field("tags", T.ARRAY, required=False, items=Field("item", T.STRING), constraints=Constraints(max_items=3)),
        Field("times", T.ARRAY, required=False, items=Field("item", T.TIMESTAMP, nullable=True)),
        Field(
            "set", T.ARRAY, required=False, items=Field("item", T.INTEGER), constraints=Constraints(unique_items=True)
        ),
        Field("points", T.ARRAY, required=False, items=point),
        Field("scores", T.MAP, required=False, items=Field("item", T.NUMBER)),
        point,
        Field("soft", T.INTEGER, required=False, coerce="lenient"),
    )
    return Contract("every", "1.0", fields, dedup=Dedup(("key", "count")), **changes)  # type: ignore[arg-type]
