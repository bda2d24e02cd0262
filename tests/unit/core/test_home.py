"""The home directory: made once, checked ever after, and refused before anything in it is touched."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from headwater.core.errors import HeadwaterError
from headwater.core.home import FORMAT_VERSION, Home


def refusal(root: Path) -> HeadwaterError:
    with pytest.raises(HeadwaterError) as caught:
        Home(root).prepare()
    return caught.value


def test_a_home_is_made_for_its_owner_alone_and_can_be_prepared_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "home")
    home.prepare()
    home.prepare()
    assert home.format_file.read_text() == f"{FORMAT_VERSION}\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home.root, home.run, home.lake, home.logs)} == {0o700}


@pytest.mark.parametrize("name", ["my home", "höme 日本", "50% # ? + ~", "it's", "100%zz"])
def test_a_home_may_have_any_ordinary_name(tmp_path: Path, name: str) -> None:
    Home(tmp_path / name).prepare()
    assert (tmp_path / name / "FORMAT").exists()


@pytest.mark.parametrize("name", ["[x]", "a|b", "a^b", "a\\b", "a\tb", "%20"])
def test_a_name_that_no_table_can_lie_below_is_refused_at_once(tmp_path: Path, name: str) -> None:
    error = refusal(tmp_path / name)
    assert error.code == "home_unusable"
    assert "--home" in str(error.hint)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(("found", "cure"), [("2", "newer"), ("0", "wrote it"), ("garbage", "wrote it")])
def test_a_home_of_another_format_is_left_alone(tmp_path: Path, found: str, cure: str) -> None:
    (tmp_path / "FORMAT").write_text(found)
    error = refusal(tmp_path)
    assert error.code == "home_version"
    assert cure in str(error.hint)
    assert [path.name for path in tmp_path.iterdir()] == ["FORMAT"]


def test_a_file_in_place_of_the_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    error = refusal(tmp_path / "home")
    assert error.code == "home_unusable"
    assert "directory" in error.detail


def test_a_secret_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    home.node_token.write_text("old")
    home.node_token.chmod(0o644)
    home.write_secret(home.node_token, b"new")
    assert home.node_token.read_bytes() == b"new"
    assert stat.S_IMODE(home.node_token.stat().st_mode) == 0o600
