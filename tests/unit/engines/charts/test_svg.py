"""What stands in a page is harmless whatever the drawing was, and follows the page's theme."""

from __future__ import annotations

import pytest

from headwater.engines.charts.renderer import ChartFailed
from headwater.engines.charts.svg import embed

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="100" height="50">'


def element(body: str, **more: str) -> str:
    return embed(f"{HEAD}{body}</svg>", label="A chart", name="c1", colours={"#0b6e8f": "--accent"}, **more).markup  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "evil",
    [
        "<script>alert(1)</script>",
        '<a xlink:href="javascript:alert(1)"><text>x</text></a>',
        '<image href="https://example.com/x.png"/>',
        '<g onload="alert(1)"/>',
        "<foreignObject><body/></foreignObject>",
        "<style>@import url(https://example.com)</style>",
        '<rect style="fill: url(https://example.com/x)"/>',
        '<rect fill="url(https://example.com/x)"/>',
        '<use href="https://example.com/x.svg#y"/>',
        '<set attributeName="href" to="javascript:alert(1)"/>',
    ],
)
def test_nothing_that_acts_or_loads_is_left(evil: str) -> None:
    made = element(f"<g><rect width='3'/>{evil}</g>").replace('xmlns="http://www.w3.org/2000/svg"', "")
    for trace in ("script", "alert", "http", "style", "href", "onload", "foreign", "import"):
        assert trace not in made
    assert 'rect width="3"' in made


def test_colours_become_properties_of_the_page_and_texts_stay_texts() -> None:
    made = element('<rect fill="#0B6E8F" stroke="#123456"/><text>a &lt;b&gt; &amp; c</text>')
    assert 'fill="var(--accent, #0B6E8F)"' in made
    assert 'stroke="#123456"' in made
    assert "a &lt;b&gt; &amp; c" in made


def test_names_inside_of_a_drawing_are_its_own() -> None:
    made = element('<defs><clipPath id="clip0"/></defs><g clip-path="url(#clip0)"/>')
    assert 'id="c1-clip0"' in made
    assert 'clip-path="url(#c1-clip0)"' in made


def test_a_label_is_written_as_text() -> None:
    made = embed(f"{HEAD}</svg>", label='"><script>', name="c").markup
    assert "<script>" not in made
    assert 'role="img"' in made


def test_a_drawing_can_be_placed_in_another() -> None:
    placed = embed(f"{HEAD}</svg>", label="", name="c", place=(10, 20, 300))
    assert (placed.width, placed.height) == (300, 150)
    assert 'x="10" y="20"' in placed.markup


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "<svg",
        "<html/>",
        "<svg/>",
        '<svg xmlns="http://www.w3.org/2000/svg"/>',
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        f"{HEAD}<text>\x00</text></svg>",
    ],
)
def test_what_is_no_drawing_is_refused(garbage: str) -> None:
    with pytest.raises(ChartFailed):
        embed(garbage, label="", name="c")
