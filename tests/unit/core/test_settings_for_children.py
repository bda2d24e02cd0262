"""A child process gets the very settings of its parent, whatever files and variables lie about."""

from __future__ import annotations

from pathlib import Path

from headwater.core.settings import load_settings


def test_a_flag_that_repeats_the_default_still_wins_over_the_file_in_a_child(tmp_path: Path) -> None:
    (tmp_path / "headwater.toml").write_text("[control]\nport = 9000\nallowed_hosts = ['a', 'b']\n")
    parent = load_settings({"project": tmp_path, "home": tmp_path / "home", "control.port": 8000}, environ={})

    child = load_settings(environ=parent.to_environment())

    assert child.control.port == 8000
    assert child == parent


def test_what_the_client_reads_is_no_setting(tmp_path: Path) -> None:
    environ = {"HEADWATER_URL": "http://127.0.0.1:1", "HEADWATER_API_KEY": "hw_x", "HEADWATER_HOME": str(tmp_path)}

    assert load_settings(environ=environ, file=tmp_path / "none").home == tmp_path
