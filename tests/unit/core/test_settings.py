"""Settings: flags over variables over the file over defaults, and every mistake named with its cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings, load_settings


def refusal(file: Path, **environ: str) -> HeadwaterError:
    with pytest.raises(HeadwaterError) as caught:
        load_settings(environ=environ, file=file)
    assert caught.value.code == "setting_invalid"
    assert caught.value.hint
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "headwater.toml"
    path.write_text("[control]\nport = 1111\n")
    return path


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(file: Path) -> None:
    environ = {"HEADWATER_CONTROL__PORT": "2222"}
    assert Settings().control.port == 8000
    assert load_settings(environ={}, file=file).control.port == 1111
    assert load_settings(environ=environ, file=file).control.port == 2222
    assert load_settings({"control.port": 3333}, environ=environ, file=file).control.port == 3333
    assert load_settings({"control.port": None}, environ=environ, file=file).control.port == 2222


def test_an_unknown_setting_is_named_with_where_it_was_set(file: Path) -> None:
    assert "HEADWATER_CONTROL__PROT" in refusal(file, HEADWATER_CONTROL__PROT="1").detail
    assert "HEADWATER_NONSENSE" in refusal(file, HEADWATER_NONSENSE="1").detail
    file.write_text("[contorl]\nport = 1\n")
    assert str(file) in refusal(file).detail


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("HEADWATER_CONTROL__PORT", "eighty", "control.port"),
        ("HEADWATER_CONTROL__PORT", "70000", "control.port"),
        ("HEADWATER_TARGET__PROJECT", "No Slug", "target.project"),
        ("HEADWATER_LOG__FORMAT", "xml", "log.format"),
        ("HEADWATER_CONTROL", "1", "control"),
    ],
)
def test_a_bad_value_is_named_with_where_it_was_set(file: Path, variable: str, value: str, named: str) -> None:
    error = refusal(file.with_name("none"), **{variable: value})
    assert named in error.detail
    assert variable in error.detail


def test_a_file_that_is_no_toml_is_named(file: Path) -> None:
    file.write_text("[control")
    assert str(file) in refusal(file).detail
    file.write_text("control = 5\n")
    assert "control" in refusal(file, HEADWATER_CONTROL__PORT="1").detail


def test_a_list_in_a_variable_may_have_blanks(file: Path) -> None:
    settings = load_settings(environ={"HEADWATER_CONTROL__ALLOWED_HOSTS": "a.example, b.example"}, file=file)
    assert settings.control.allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("10.1.2.3", "http://10.1.2.3:8000"),
    ],
)
def test_a_server_is_reached_where_it_listens(host: str, url: str, tmp_path: Path) -> None:
    assert load_settings({"control.host": host}, environ={}, file=tmp_path / "none").control_url == url
