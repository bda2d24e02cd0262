from __future__ import annotations

import numpy as np

from headwater.services.inference.batch import Batch, Inputs, Row, Share
from headwater.services.inference.cache import ResponseCache


def share(*values: float, before: int = 0) -> Share:
    matrix = np.array([[0.0]] * before + [[value] for value in values])
    batch = Batch((), matrix, [matrix[:, 0] * 2])
    return Share(batch, before, before + len(values))


def test_an_answer_is_found_by_what_was_asked() -> None:
    cache = ResponseCache(10)
    key = cache.key(Inputs([(1, 2.5)]))
    assert cache.get(key) is None
    cache.put(key, share(1))
    found = cache.get(cache.key(Inputs([(1, 2.5)])))
    assert found is not None
    assert found.batch.outputs[0].tolist() == [2]
    assert cache.get(cache.key(Inputs([(1, 2.6)]))) is None
    assert cache.get(cache.key(Inputs([(1, 2.5), (1, 2.5)]))) is None


def test_rows_and_matrices_that_differ_in_anything_are_other_questions() -> None:
    cache = ResponseCache(10)
    matrices = [np.array([[0.0]]), np.array([[-0.0]]), np.array([[1.0]])]
    rows: list[list[Row]] = [[(1,)], [("1",)], [(True,)], [(None,)], [(1.5,)], [("",)]]
    keys = [cache.key(Inputs(matrix=matrix)) for matrix in matrices] + [cache.key(Inputs(row)) for row in rows]
    assert len(set(keys)) == len(keys)


def test_what_is_kept_is_a_copy_without_the_rows_of_others() -> None:
    cache = ResponseCache(10)
    batch = share(7, before=500)
    cache.put(b"k", batch)
    found = cache.get(b"k")
    assert found is not None
    assert (found.start, found.stop, len(found.batch.outputs[0])) == (0, 1, 1)
    assert found.batch.matrix is not None
    assert found.batch.matrix.base is None
    assert found.batch.outputs[0].base is None


def test_rows_are_bounded_and_the_least_recently_used_go_first() -> None:
    cache = ResponseCache(4)
    cache.put(b"a", share(1, 2))
    cache.put(b"b", share(3))
    cache.put(b"c", share(4))
    assert cache.get(b"a") is not None
    cache.put(b"d", share(5))
    assert [cache.get(key) is None for key in (b"a", b"b", b"c", b"d")] == [False, True, False, False]
    assert cache.rows == 4
    cache.put(b"e", share(*range(5)))  # more than there is room for
    assert cache.get(b"e") is None
    assert cache.rows == 4
