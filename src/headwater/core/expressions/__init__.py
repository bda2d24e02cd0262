"""A small typed expression language for policies, rules, flags and features.

.. code-block:: text

    if(distance > 0, air_time / distance, null)
    carrier in ('AA', 'UA') and not (hour(sched_dep) < 6 or delay is null)
    case when temp < 0 then 'frost' when temp < 25 then 'mild' else 'hot' end

An expression is parsed and type-checked against the names it may use, then has two forms with the same answers: a
Python closure for one row, and a DuckDB expression for a set of them. Nothing that passed the check can fail: what has
no value (a division by zero, a logarithm of nothing, a number beyond its type) is null, and null goes on as in SQL.
"""

from headwater.core.expressions.expression import Expression, compile_expression
from headwater.core.expressions.faults import ExpressionFault
from headwater.core.expressions.terms import MAX_DEPTH, MAX_LENGTH, MAX_TERMS, TYPES

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "MAX_TERMS",
    "TYPES",
    "Expression",
    "ExpressionFault",
    "compile_expression",
]
