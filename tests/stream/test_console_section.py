"""The configuration's section ``console``, the process that it makes, and the commands for logins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.child import Stage
from stream.config import build_config
from stream.console.token import FILE, login_link
from stream.console.users import Users
from stream.errors import ConfigError
from stream.machine import children

PASSWORD = "correct horse battery"


def config(base: Path = Path("/site"), **console: Any) -> Any:
    data = {"cameras": [{"id": "gate", "source": "rtsp://cam/1"}], "console": console}
    return build_config(data, where="site.yaml", base=base, environment={})


TLS = {"tls_certificate": "chain.pem", "tls_key": "key.pem"}


@pytest.mark.parametrize(
    "console",
    [
        {},
        {"address": "localhost:9000"},
        {"address": "[::1]:9000"},
        {"address": "0.0.0.0:9000", **TLS},
        {"address": "0.0.0.0:9000", "insecure": True},
        {"address": "0.0.0.0:9000", "enabled": False},
    ],
)
def test_what_is_safe_or_was_asked_for_is_taken(console: dict[str, Any]) -> None:
    assert config(**console).console.names == ()


@pytest.mark.parametrize(
    ("console", "problem"),
    [
        ({"address": "0.0.0.0:9000"}, "other machines can reach 0.0.0.0:9000"),
        ({"address": "spade.example.org:9000"}, "console.tls_certificate"),
        ({"address": "9000"}, "is not HOST:PORT"),
        ({"address": "localhost:99999"}, "is not HOST:PORT"),
        ({"tls_certificate": "chain.pem"}, "together"),
        ({"address": "0.0.0.0:9000", "insecure": True, **TLS}, "contradicts"),
        ({"names": ["a b"]}, "console.names"),
        ({"port": 9000}, "unknown key"),
    ],
)
def test_what_is_not_is_refused_with_the_remedy(console: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        config(**console)


def test_the_console_is_a_process_that_never_ends_the_run(tmp_path: Path) -> None:
    made = {c.name: c for c in children(config(), tmp_path / "c.yaml", base=tmp_path, named=Path("site.yaml"))}
    console = made["console"]
    assert console.argv[3:5] == ("console", str(tmp_path / "c.yaml"))
    assert (console.stage, console.ends, console.decides) == (Stage.SINKS, False, False)
    off = children(config(enabled=False), tmp_path / "c.yaml", base=tmp_path, named=Path("site.yaml"))
    assert "console" not in {child.name for child in off}


def test_the_link_is_what_a_browser_can_open(tmp_path: Path) -> None:
    assert login_link(config(tmp_path)).startswith("http://127.0.0.1:8470/login?token=")
    assert login_link(config(tmp_path, address="*:80", insecure=True)).startswith("http://127.0.0.1:80/")
    assert login_link(config(tmp_path, address="[::1]:80")).startswith("http://[::1]:80/")
    assert login_link(config(tmp_path, **TLS)).startswith("https://")


def spade(*words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream", *map(str, words)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, env=dict(os.environ))


def test_links_and_users_are_made_on_the_command_line(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    console = {"users": "users"}
    site.write_text(yaml.safe_dump({"cameras": [{"id": "gate", "source": "rtsp://cam/1"}], "console": console}))
    link = spade("console", "link", site)
    token = (tmp_path / "state" / "run" / FILE).read_text().strip()
    assert link.stdout.strip() == f"http://127.0.0.1:8470/login?token={token}"
    added = spade("console", "user", site, "anna", given=f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr
    assert PASSWORD not in added.stdout + added.stderr
    assert Users(tmp_path / "users").check("anna", PASSWORD)
    short = spade("console", "user", site, "ben", given="short\n")
    assert (short.returncode, "10 to 256" in short.stderr) == (2, True)
    assert spade("console", "user", site, "anna", "--remove").returncode == 0
    assert spade("console", "user", site, "anna", "--remove").returncode == 2
    assert Users(tmp_path / "users").names() == ()


def test_progress_for_programs_is_a_line_a_step_and_a_result() -> None:
    program = """
from stream.progress import Step, progress_reporter, tell_result
with progress_reporter("enroll", unit="frame", form="json", clock=lambda: 0.0) as tell:
    tell(Step("gallery", 1, 10, "first", {"value": 0.5, "covered": False}))
    tell(Step("gallery", 2, 10))
    tell(Step("threshold", 3, 10))
    tell(Step("threshold", 10, 10))
tell_result({"version": "v000001"})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["progress"] == {
        "stage": "gallery",
        "done": 1,
        "total": 10,
        "text": "first",
        "coverage": {"value": 0.5, "covered": False},
    }
    assert [line["progress"]["done"] for line in lines[:-1]] == [1, 3, 10], "too soon after the one before is left out"
    assert lines[-1] == {"result": {"version": "v000001"}}
