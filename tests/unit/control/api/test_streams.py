"""Long answers leave as they are read: what is in memory does not grow with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from django.test import AsyncRequestFactory, RequestFactory

from headwater.control.api.streams import stream_lines, stream_text

LINES = 5_000


def counted(read: list[int]) -> Iterator[str]:
    for number in range(LINES):
        read.append(number)
        yield f"{number}\n"


async def test_the_first_lines_are_sent_before_the_last_are_read() -> None:
    read: list[int] = []
    request = AsyncRequestFactory().get("/")
    response = stream_text(request, counted(read), name="log.csv", media="text/csv; charset=utf-8")
    assert response.is_async
    assert read == []
    content = response.streaming_content
    assert isinstance(content, AsyncIterator)
    first = await anext(content)
    assert first.startswith(b"0\n1\n")
    assert 0 < len(read) < LINES / 2
    rest = [chunk async for chunk in content]
    assert (first + b"".join(rest)).count(b"\n") == LINES
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="log.csv"'


def test_a_synchronous_server_is_given_the_same_lines() -> None:
    response = stream_lines(RequestFactory().get("/"), ({"n": n} for n in range(3)), name="log.ndjson")
    assert response.getvalue() == b'{"n": 0}\n{"n": 1}\n{"n": 2}\n'
