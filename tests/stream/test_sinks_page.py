"""``docs/sinks.md``: its configurations are accepted, its check of a signature works, its receiver receives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sink_partners import NOTHING, PATIENCE_S, an_alert, free_port

from stream.cli import main
from stream.config import build_config
from stream.errors import SinkError
from stream.sink_sections import WebhookSection
from stream.sinks.signature import signature
from stream.sinks.webhook import WebhookSink
from stream.sinks.webhook_template import Template

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sinks.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "docs" / "examples" / "webhook_receiver.py"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_every_configuration_on_the_page_is_accepted() -> None:
    environment = dict.fromkeys(re.findall(r"\$\{(\w+)\}", PAGE), "x")
    shown = [yaml.safe_load(block) for block in blocks("yaml") if "type:" in block]
    sinks = [sink for part in shown for sink in (part["sinks"] if isinstance(part, dict) else part)]
    data = {"cameras": [{"id": "a", "source": "campus:"}], "sinks": sinks}
    built = build_config(data, where="page", base=Path("/"), environment=environment)
    assert [sink.type for sink in built.sinks] == ["mqtt", "webhook", "webhook", "kafka", "zmq"]


def test_the_check_of_a_signature_on_the_page_takes_ours_and_no_other() -> None:
    [source] = [block for block in blocks("python") if "def is_ours" in block]
    names: dict[str, Any] = {}
    exec(source, names)
    now = int(names["time"].time())
    assert names["is_ours"](b"key", b"body", signature("key", b"body", now))
    assert not names["is_ours"](b"key", b"other", signature("key", b"body", now))
    assert not names["is_ours"](b"key", b"body", signature("key", b"body", now - 400))
    for odd in ("nonsense", f"t={now},v1=\N{SNOWMAN}", "t=\N{SUPERSCRIPT TWO},v1=x"):
        assert not names["is_ours"](b"key", b"body", odd), "what anybody may send is no error either"


def test_the_template_on_the_page_can_be_filled(tmp_path: Path) -> None:
    [source] = [block for block in blocks("json") if "{console}" in block]
    (tmp_path / "own.json").write_text(source)
    filled = Template(str(tmp_path / "own.json"), {"console": "https://console"}).fill(an_alert(1))
    assert filled["link"] == "https://console/#/alerts/a1"
    assert filled["regions"][0]["area"] == 10


def test_the_receiver_takes_what_is_signed_once_and_refuses_the_rest() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    environment = {**os.environ, "HOOK_SECRET": "right"}
    command = [sys.executable, str(EXAMPLE), str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert "listening" in process.stdout.readline()
            ours, forged = (WebhookSink(WebhookSection(type="webhook", url=url, secret=s)) for s in ("right", "wrong"))
            for seq in (1, 1, 2):
                ours.deliver(an_alert(seq), NOTHING)
            with pytest.raises(SinkError, match="answers 403"):
                forged.deliver(an_alert(3), NOTHING)
        finally:
            process.terminate()
        assert process.stdout.read().splitlines() == ["2026-03-01T12:00:00.000Z gate start"] * 2


@pytest.mark.slow
def test_the_command_on_the_page_delivers_a_test_alert(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("cameras: [{id: a, source: 'campus:'}]\nsinks: [{type: stdout, name: home}]\n")
    done = subprocess.run(
        [sys.executable, "-m", "stream", "sink", str(config), "--name", "home", "--test"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=PATIENCE_S * 5,
    )
    assert "spade-stream-test test message, nothing was seen#0 START" in done.stdout
    assert "sink home took the test alert test-" in done.stdout


def test_a_sink_that_does_not_exist_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("cameras: [{id: a, source: 'campus:'}]\n")
    assert main(["sink", str(config), "--name", "siren", "--test"]) == 2
    assert "has no such sink; it has: none" in capsys.readouterr().err


def test_check_names_every_sink_and_finds_a_template_that_cannot_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = {"type": "webhook", "url": "https://h.example.org/s3cret", "template": "own.json"}
    sinks = [{"type": "mqtt", "host": "127.0.0.1"}, hook]
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({"cameras": [{"id": "a", "source": "campus:"}], "sinks": sinks}))
    (tmp_path / "own.json").write_text('{"text": "{kamera}"}')

    assert main(["check", str(config)]) == 2
    said = capsys.readouterr()
    assert "sink mqtt: mqtt, 127.0.0.1:1883 (not encrypted), topics below spade-stream" in said.out
    assert "sink webhook: template" in said.err
    assert "{kamera} is no name" in said.err
    (tmp_path / "own.json").write_text('{"text": "{camera}"}')
    assert main(["check", str(config)]) == 0
    said = capsys.readouterr()
    assert "sink webhook: webhook, https://h.example.org/***, not signed, template" in said.out
    assert "s3cret" not in said.out + said.err
