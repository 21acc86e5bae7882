"""Whether what the console is given can be used, as `check` and `run` ask before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from console_fakes import a_config

from stream import logs
from stream.commands import _runnable, _say_console
from stream.console.checks import console_faults, missing_files
from stream.console.users import set_user
from stream.errors import ConfigError


def private(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_console_that_is_given_nothing_or_what_is_right_has_no_faults(tmp_path: Path) -> None:
    set_user(tmp_path / "users", "anna", "correct horse battery")
    token = private(tmp_path / "metrics", "m" * 40)
    assert console_faults(a_config(tmp_path)) == []
    assert console_faults(a_config(tmp_path, users=str(tmp_path / "users"), metrics_token=token)) == []


def test_files_that_are_not_there_are_named_each_once(tmp_path: Path) -> None:
    names = ("users", "tls_certificate", "tls_key", "metrics_token")
    config = a_config(tmp_path, **{name: str(tmp_path / name) for name in names})
    assert [fault.partition(":")[0] for fault in console_faults(config)] == [f"console.{name}" for name in names]
    assert missing_files(config) == console_faults(config)
    assert "spade-stream console user" in missing_files(config)[0]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"users": "anna:plainpassword\n"}, "line 1 is not NAME:scrypt"),
        ({"metrics_token": "short"}, "console.metrics_token has 32 to 128"),
        ({"tls_certificate": "none", "tls_key": "none"}, "cannot be used"),
    ],
)
def test_what_is_damaged_is_a_fault_without_what_stands_in_it(
    tmp_path: Path, section: dict[str, Any], said: str
) -> None:
    files = {name: private(tmp_path / name, text) for name, text in section.items()}
    config = a_config(tmp_path, **files)
    (fault,) = console_faults(config)
    assert said in fault
    assert "plainpassword" not in fault
    assert missing_files(config) == []


def test_a_damaged_token_of_its_own_is_a_fault(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    (config.state / "run").mkdir(parents=True)
    private(config.state / "run" / "console-token", "short")
    (fault,) = console_faults(config)
    assert "console-token" in fault


def test_a_console_that_is_off_has_no_faults(tmp_path: Path) -> None:
    assert console_faults(a_config(tmp_path, enabled=False, users=str(tmp_path / "users"))) == []


def test_a_run_does_not_begin_with_a_file_that_is_not_there(tmp_path: Path) -> None:
    config = a_config(tmp_path, users=str(tmp_path / "users"))
    with pytest.raises(ConfigError, match=r"console.users: there is no"):
        _runnable(config, tmp_path / "site.yaml")


def test_a_run_goes_on_without_a_console_that_cannot_start_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(logs, "tell", lambda text, **_: told.append(text))
    _say_console(a_config(tmp_path, metrics_token=private(tmp_path / "m", "short")), tmp_path / "site.yaml")
    (line,) = told
    assert line.startswith("the console cannot start: ")
