"""What a prediction of a batch job looks like: one row of the dataset ``batch_predictions_<model>``.

It is the row of the prediction log and what it was made of. These columns have the same types whatever dataset was
scored: all jobs of a model share one table, and tables cannot change a column's type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from headwater.contracts.model import Field
from headwater.core.snapshot import OutputSpec
from headwater.engines.models.log_schema import log_schema

SOURCE_FIELDS: Final = (
    pa.field("job", pa.string()),
    pa.field("source", pa.string()),
    pa.field("source_version", pa.int64()),
    pa.field("source_seq", pa.int64()),  # the row's _hw_seq
    # JSON text: the row's key by column.
    pa.field("source_key", pa.string()),
    # JSON text: what is wrong with the row, null where it has outputs.
    pa.field("error", pa.string()),
)


def batch_schema(inputs: Sequence[Field], outputs: Sequence[OutputSpec]) -> pa.Schema:
    """Return the Arrow schema of a signature's batch predictions: what the log has, then where each is from."""
    return pa.schema([*log_schema(inputs, outputs), *SOURCE_FIELDS])
