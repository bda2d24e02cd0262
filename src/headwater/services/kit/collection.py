"""Keeping Python's cyclic garbage collector from stopping requests while a large snapshot is put in force.

A full collection looks at every object there is: three quarters of a second for five thousand datasets, during which
nothing else runs. While a snapshot is read and compiled none begins, and what a large one leaves is set aside, never to
be looked at again. Nearly all of it goes by reference counts once it is replaced; a cycle among it, some kilobytes for
a dataset that changed, stays until the process ends.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

LARGE_SPECS: Final = 500
"""From here on a full collection would be felt."""


@dataclass(slots=True)
class CollectionPause:
    """How many snapshots are being put in force. Used from the event loop only."""

    holders: int = 0

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let no collection begin of itself within."""
        self.holders += 1
        gc.disable()
        try:
            yield
        finally:
            self.holders -= 1
            if not self.holders:
                gc.enable()

    @staticmethod
    def set_aside(specs: int) -> None:
        """Leave what exists now out of later collections, if a snapshot of ``specs`` specs is large."""
        if specs >= LARGE_SPECS:
            gc.freeze()
