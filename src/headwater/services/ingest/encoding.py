"""Arrow batches to the bytes of a journal block and back."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from pyarrow import ipc

# Below this size compression costs more than the bytes it saves on their way to the disk.
COMPRESS_FROM_BYTES: Final = 32 << 10
_PLAIN: Final = ipc.IpcWriteOptions()
# Zstandard would halve the bytes once more, but it is started for every buffer, and that costs more than the disk does.
_LZ4: Final = ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def encode_batch(batch: pa.RecordBatch) -> bytes:
    """Return an Arrow IPC stream with this one batch."""
    sink = pa.BufferOutputStream()
    options = _LZ4 if ipc.get_record_batch_size(batch) >= COMPRESS_FROM_BYTES else _PLAIN
    with ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def decode_block(payload: bytes) -> pa.Table:
    """Return the rows of a block."""
    return ipc.open_stream(payload).read_all()
