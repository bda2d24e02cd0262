"""What is wrong with tables that should be there."""

from __future__ import annotations

from headwater.core.errors import HeadwaterError


def lost(stream: str) -> HeadwaterError:
    """Return the problem of a table whose rows are known to have been there."""
    return unavailable(stream, "is gone from the lake, although rows were stored in it")


def unavailable(stream: str, what: str) -> HeadwaterError:
    """Return the problem of a table that should be there."""
    return HeadwaterError(
        "storage_unavailable",
        f"the table of {stream.partition('/')[2]} {what}",
        hint="mount the lake's disk again, or stop Headwater and restore the home from a backup",
        retry_after_seconds=5,
    )
