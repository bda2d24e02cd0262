from __future__ import annotations

import itertools

import pytest

from headwater.core.ids import new_id, new_ids, parse_id


@pytest.mark.parametrize("count", [0, 1, 2, 1_000, 5_000])
def test_identifiers_made_in_bulk_are_well_formed_unique_and_grow(count: int) -> None:
    made = [new_id("prd"), *new_ids("prd", count), *new_ids("prd", count), new_id("prd")]
    assert len(made) == 2 * count + 2
    assert all(earlier < later for earlier, later in itertools.pairwise(made))
    assert all(parse_id("prd", text) for text in made)
