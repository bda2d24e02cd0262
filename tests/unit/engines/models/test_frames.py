from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.engines.models.isolated.frames import (
    HEADER,
    MAX_PAYLOAD,
    BrokenFrames,
    FrameReader,
    Kind,
    pack,
    pack_outputs,
    unpack_outputs,
)

NUMERIC = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]


@given(st.lists(st.binary(max_size=60), max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_frames_come_whole_whatever_pieces_they_travel_in(payloads: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(pack(Kind.MATRIX, number, 1, payload) for number, payload in enumerate(payloads))
    reader = FrameReader()
    found: list[tuple[int, bytes]] = []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        found += [(number, bytes(payload)) for _k, number, _r, payload in reader.feed(stream[at : at + size])]
        at, turn = at + size, turn + 1
    assert found == list(enumerate(payloads))


def test_a_frame_that_is_too_long_is_refused_before_it_came() -> None:
    with pytest.raises(BrokenFrames, match="a frame of"):
        list(FrameReader().feed(HEADER.pack(MAX_PAYLOAD + 1, Kind.OUTPUTS, 1, 1)))


@pytest.mark.parametrize("dtype", NUMERIC)
def test_outputs_of_every_type_come_back_as_they_were(dtype: str) -> None:
    scalar, matrix = np.arange(3).astype(dtype), np.arange(6).reshape(3, 2).astype(dtype)
    texts = np.array(["a", "", "ü"], dtype=object)
    one, two, three = unpack_outputs(memoryview(pack_outputs([scalar, matrix, texts])), 3, [(), (2,), ()])
    np.testing.assert_array_equal(one, scalar)
    np.testing.assert_array_equal(two, matrix)
    assert (one.dtype, two.dtype, three.tolist()) == (scalar.dtype, scalar.dtype, texts.tolist())


@given(st.binary(max_size=40))
def test_garbage_is_no_outputs(payload: bytes) -> None:
    good = pack_outputs([np.zeros(2)])
    try:
        [array] = unpack_outputs(memoryview(payload), 2, [()])
    except BrokenFrames:
        return
    assert len(array) == 2
    assert len(payload) <= len(good) + 40


@pytest.mark.parametrize(("rows", "shapes"), [(3, [()]), (2, [(2,)]), (2, [(), ()]), (2, [])])
def test_outputs_of_another_shape_are_refused(rows: int, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(BrokenFrames):
        unpack_outputs(memoryview(pack_outputs([np.zeros(2)])), rows, shapes)
