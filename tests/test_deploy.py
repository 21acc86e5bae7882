"""What is in ``deploy``: linters have no complaints, services are confined as the README says, secrets work."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import yaml

from stream.config import load_config

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
ROOT = DEPLOY.parent
COMPOSE, GPU = DEPLOY / "compose.yaml", DEPLOY / "compose.gpu.yaml"
DOCKERFILES = (DEPLOY / "Dockerfile", DEPLOY / "Dockerfile.cuda")
PATIENCE_S = 60.0  # how long a test waits for another program


def tool(name: str, *folders: str) -> str:
    """A linter, beside this Python or on the path; the test skips where it is not installed."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], *folders]))
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def lint(*words: str | Path) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


SERVICES: dict[str, dict[str, Any]] = read(COMPOSE)["services"]


# -- linters ----------------------------------------------------------------------------------------------------------


@pytest.mark.linters
@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_hadolint_has_no_complaints(file: Path) -> None:
    assert lint(tool("hadolint"), file) == ""


def test_yamllint_has_no_complaints() -> None:
    lint(tool("yamllint"), "--strict", "-c", DEPLOY / ".yamllint.yaml", "deploy", "configs")


@pytest.mark.linters
@pytest.mark.parametrize("file", [COMPOSE, GPU], ids=lambda file: file.name)
def test_the_compose_file_fits_the_published_schema(file: Path) -> None:
    lint(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", file)


def test_docker_compose_reads_both_files_together() -> None:
    docker = tool("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("this docker has no 'compose'")
    lint(docker, "compose", "-f", COMPOSE, "-f", GPU, "--profile", "simulator", "config", "--quiet")


def test_systemd_has_no_complaints_about_the_units(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    units = [tmp_path / file.name for pattern in ("*.service", "*.timer") for file in sorted(DEPLOY.glob(pattern))]
    for unit in units:
        text = (DEPLOY / unit.name).read_text(encoding="utf-8")
        # The program need not be installed here.
        unit.write_text(text.replace("/opt/spade-stream/.venv/bin/spade-stream", "/bin/true"))
    assert lint(analyze, "verify", *units) == ""


def test_the_timer_starts_what_only_follows_where_the_configuration_says_so() -> None:
    service = (DEPLOY / "spade-stream-follow.service").read_text(encoding="utf-8")

    assert (DEPLOY / "spade-stream-follow.timer").is_file()
    assert "gallery follow /etc/spade-stream/campus.yaml --scheduled" in service
    assert "MemoryMax=4G" in service, "what it takes must not cost the worker its memory"


@pytest.mark.promtool
def test_promtool_takes_prometheus_settings_and_rules(tmp_path: Path) -> None:
    promtool = tool("promtool")
    folder = shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus")
    (folder / "spade-stream.token").write_text("x" * 43)
    lint(promtool, "check", "config", folder / "prometheus.yml")


@pytest.mark.parametrize("script", ["entrypoint.sh", "ray/head.sh"])
def test_the_shell_takes_the_script(script: str) -> None:
    lint("sh", "-n", DEPLOY / script)


# -- compose: confined as the README says -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert int(service["user"].split(":")[0]) > 0
    assert {"mem_limit", "pids_limit"} <= service.keys()
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_publishes_is_on_loopback(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_only_console_and_grafana_are_published() -> None:
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {"spade-stream", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_that_is_not_built_here_has_a_fixed_version(name: str) -> None:
    service = SERVICES[name]
    assert "build" in service or re.search(r":v?\d+\.\d+\.\d+", service["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_from_the_host_is_there_and_read_only(name: str) -> None:
    mounts = [mount for mount in SERVICES[name].get("volumes", []) if isinstance(mount, dict)]
    made_by_the_user = {"./footage"}
    for mount in mounts:
        assert mount["read_only"] is True
        assert mount["source"] in made_by_the_user or (DEPLOY / mount["source"]).exists()


def test_broker_and_prometheus_have_no_way_out() -> None:
    assert read(COMPOSE)["networks"]["inside"]["internal"] is True
    assert SERVICES["mosquitto"]["networks"] == SERVICES["prometheus"]["networks"] == ["inside"]


def test_no_secret_is_in_an_environment() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|TOKEN|SECRET", name) or name.endswith("__FILE"), (name, value)


def test_the_gpu_file_changes_what_it_must_and_nothing_of_the_confinement() -> None:
    [(name, service)] = read(GPU)["services"].items()
    assert name == "spade-stream"
    assert service.keys() == {"build", "image", "shm_size", "deploy"}
    assert (ROOT / service["build"]["dockerfile"]).exists()


def test_the_configuration_that_compose_runs_is_right() -> None:
    config = load_config(DEPLOY / "stack.yaml", {})
    mounted = {f"/run/secrets/{name}" for name in SERVICES["spade-stream"]["secrets"]}
    assert str(config.console.metrics_token) in mounted
    assert config.state.is_relative_to("/var/lib/spade-stream")
    assert config.gallery.folder.is_relative_to("/var/lib/spade-stream")
    assert SERVICES["spade-stream"]["command"][-1] == "/etc/spade-stream/stack.yaml"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
@pytest.mark.parametrize(("answer", "well"), [(200, True), (503, False)])
def test_the_health_check_of_an_image_asks_where_the_environment_says(file: Path, answer: int, well: bool) -> None:
    (found,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", file.read_text(encoding="utf-8"), re.MULTILINE)
    command = json.loads(found)
    asked: list[str] = []

    class Console(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Console) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        environment = {**os.environ, "SPADE_HEALTH_URL": f"http://127.0.0.1:{server.server_port}/healthz"}
        done = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, check=False)
        thread.join(PATIENCE_S)
    assert (asked, done.returncode == 0) == (["/healthz"], well)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_an_image_runs_as_a_user_and_asks_the_console_how_it_is(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.rindex("USER 10001:10001") > text.rindex("FROM ")
    assert "SPADE_HEALTH_URL=http://127.0.0.1:8470/healthz" in text
    copied = set(re.findall(r"^COPY (?:--chmod=\d+ )?((?:[\w./]+ )+)", text, re.MULTILINE))
    names = {name for line in copied for name in line.split()}
    assert all((ROOT / name).exists() for name in names)
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{name}" for name in names} <= set(let_in)


# -- the entry point --------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A folder with a spade-stream that says how it was called."""
    fake = tmp_path / "bin" / "spade-stream"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s|" "$@"\nprintf "%s" "${CAMERA_PASSWORD-none}"\n')
    fake.chmod(0o755)
    return fake.parent


def enter(program: Path, secrets: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{program}:/usr/bin:/bin", "SPADE_SECRETS": str(secrets)}
    words = [str(DEPLOY / "entrypoint.sh"), "run", "a b.yaml"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_the_entry_point_hands_the_cameras_passwords_over(program: Path, tmp_path: Path) -> None:
    secrets = tmp_path / "cameras.env"
    secrets.write_text("# of the cameras\nCAMERA_PASSWORD=p%40ss\n")
    done = enter(program, secrets)
    assert (done.returncode, done.stdout) == (0, "run|a b.yaml|p%40ss")


def test_the_entry_point_needs_no_secrets(program: Path, tmp_path: Path) -> None:
    assert enter(program, tmp_path / "none").stdout == "run|a b.yaml|none"


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    lint(sys.executable, DEPLOY / "make_secrets.py", folder)
    return folder


def test_every_secret_of_the_compose_file_is_made_for_its_user_alone(secrets: Path) -> None:
    named = {Path(secret["file"]).name for secret in read(COMPOSE)["secrets"].values()}
    assert named <= {file.name for file in secrets.iterdir()}
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o400}
    token = (secrets / "metrics_token").read_text()
    assert token == (secrets / "prometheus_token").read_text()
    assert re.fullmatch(r"[\w-]{32,128}\n", token)


def test_a_secret_that_is_there_stays_and_its_partner_follows_it(secrets: Path) -> None:
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    (secrets / "prometheus_token").unlink()
    lint(sys.executable, DEPLOY / "make_secrets.py", secrets)
    assert {file.name: file.read_text() for file in secrets.iterdir()} == before


@pytest.fixture
def broker(secrets: Path, tmp_path: Path) -> Iterator[int]:
    """The port of a mosquitto that runs with the settings of compose, as far as the paths of its image allow."""
    mosquitto = tool("mosquitto", "/usr/sbin")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "data").mkdir()
    settings = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text(encoding="utf-8")
    places = {
        "listener 1883": f"listener {port} 127.0.0.1\nuser root",
        "/run/secrets": str(secrets),
        "/mosquitto/config": str(DEPLOY / "mosquitto"),
        "/mosquitto/data/": f"{tmp_path}/data/",
    }
    for old, new in places.items():
        assert old in settings
        settings = settings.replace(old, new)
    (tmp_path / "mosquitto.conf").write_text(settings)
    process = subprocess.Popen([mosquitto, "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and process.poll() is None:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


class Client:
    """One user of the broker."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.answered, self.came = threading.Event(), threading.Event()
        self.refused = True
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(user, password)
        self._client.on_connect = self._on_connect
        self._client.on_message = lambda *_: self.came.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self.answered.wait(PATIENCE_S)

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.refused = reason.is_failure
        self.answered.set()

    def listen(self) -> None:
        done = threading.Event()
        self._client.on_subscribe = lambda *_: done.set()
        self._client.subscribe("spade-stream/#", qos=1)
        assert done.wait(PATIENCE_S)

    def say(self, topic: str) -> bool:
        """Whether the broker took a message."""
        taken: list[bool] = []
        done = threading.Event()

        def on_publish(client: Any, data: Any, mid: Any, reason: Any, properties: Any) -> None:
            taken.append(not reason.is_failure)
            done.set()

        self._client.on_publish = on_publish
        self._client.publish(topic, "x", qos=1)
        assert done.wait(PATIENCE_S)
        return taken[0]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.mark.slow
@pytest.mark.mqtt
def test_a_real_broker_takes_the_settings_and_lets_in_who_has_the_password(broker: int, secrets: Path) -> None:
    passwords = {name: (secrets / name).read_text().strip() for name in ("mqtt_password", "mqtt_reader")}
    sink = Client(broker, "spade-stream", passwords["mqtt_password"])
    reader = Client(broker, "reader", passwords["mqtt_reader"])
    stranger = Client(broker, "spade-stream", "guessed")
    try:
        assert (sink.refused, reader.refused, stranger.refused) == (False, False, True)
        reader.listen()
        assert not reader.say("spade-stream/gate/alert")
        assert sink.say("spade-stream/gate/alert")
        assert reader.came.wait(PATIENCE_S)
        assert not sink.say("elsewhere/x")
    finally:
        for client in (sink, reader, stranger):
            client.close()
