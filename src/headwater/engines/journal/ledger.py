"""The ledger's minutes, folded into days once they are old: the sums stay, the rows become few."""

from __future__ import annotations

from typing import Final

import apsw

DAY_MINUTES: Final = 1_440
_OLDEST: Final = "SELECT min(minute) FROM ledger WHERE minute < ? AND minute % 1440 <> 0"
_FOLD: Final = """
    INSERT INTO ledger
    SELECT ?, stream_id, principal_id, sum(received), sum(accepted), sum(duplicate), sum(stale), sum(quarantined),
        sum(rejected)
    FROM ledger WHERE minute > ? AND minute < ? GROUP BY stream_id, principal_id
    ON CONFLICT DO UPDATE SET received = received + excluded.received, accepted = accepted + excluded.accepted,
        duplicate = duplicate + excluded.duplicate, stale = stale + excluded.stale,
        quarantined = quarantined + excluded.quarantined, rejected = rejected + excluded.rejected"""
_FORGET: Final = "DELETE FROM ledger WHERE minute > ? AND minute < ?"


def fold_oldest_day(connection: apsw.Connection, before_minute: int) -> bool:
    """Fold the oldest whole day before a minute that has more than its first one; return whether there was any."""
    (oldest,) = connection.execute(_OLDEST, (before_minute - before_minute % DAY_MINUTES,)).fetchall()[0]
    if oldest is None:
        return False
    assert isinstance(oldest, int)
    day = oldest - oldest % DAY_MINUTES
    connection.execute(_FOLD, (day, day, day + DAY_MINUTES))
    connection.execute(_FORGET, (day, day + DAY_MINUTES))
    return True
