"""Which files are compacted, and how often a row is rewritten."""

from __future__ import annotations

from headwater.engines.lake.compaction import TARGET_BYTES, Part, choose


def parts(*sizes: int) -> list[Part]:
    return [Part(f"p{n}", size, n, 1) for n, size in enumerate(sizes)]


def names(groups: list[list[Part]]) -> list[list[str]]:
    return [[part.name for part in group] for group in groups]


def test_too_few_files_are_left_alone() -> None:
    assert choose(parts(1, 1, 1), least=4) == []
    assert choose([], least=1) == []


def test_small_files_are_joined_in_their_order() -> None:
    assert names(choose(parts(1, 1, 1), least=3)) == [["p0", "p1", "p2"]]


def test_a_file_much_larger_than_all_younger_ones_is_left_alone() -> None:
    assert names(choose(parts(100, 1, 1, 1), least=2)) == [["p1", "p2", "p3"]]
    assert names(choose(parts(12, 1, 1, 1), least=2)) == [["p0", "p1", "p2", "p3"]]


def test_finished_files_end_the_search() -> None:
    assert names(choose(parts(1, TARGET_BYTES, 1, 1), least=2)) == [["p2", "p3"]]


def test_no_output_is_larger_than_the_target() -> None:
    third = TARGET_BYTES // 3
    groups = choose(parts(*[third] * 7), least=2)
    assert names(groups) == [["p0", "p1", "p2"], ["p3", "p4", "p5"]]


def test_each_row_is_rewritten_a_few_times_however_long_it_goes_on() -> None:
    files: list[Part] = []
    written = rewritten = 0
    for n in range(20_000):
        files.append(Part(f"f{n}", 1, n, 1))
        written += 1
        for group in choose(files, least=100):
            gone = {part.name for part in group}
            size = sum(part.size for part in group)
            rewritten += size
            position = files.index(group[0])
            files = [part for part in files if part.name not in gone]
            files.insert(position, Part(f"c{n}", size, n, size))
    assert sum(part.size for part in files) == written
    assert rewritten / written < 10
    assert len(files) < 110
