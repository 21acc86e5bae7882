"""What ``deploy/ray`` has for a cluster: Ray's own schema takes it, pods are confined, outboxes stay on their machines,
and the script of the head's container drains before it ends.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from test_deploy import DEPLOY, PATIENCE_S, ROOT, lint, tool

from stream.cluster.fleet import NETWORK_LABEL, ROLE_LABEL
from stream.cluster_section import DEFAULT_DIRECTORY

RAY = DEPLOY / "ray"
LAUNCHER: dict[str, Any] = yaml.safe_load((RAY / "cluster.yaml").read_text(encoding="utf-8"))
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((RAY / "kuberay.yaml").read_text(encoding="utf-8")))


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in OBJECTS if each["kind"] == kind]


CLUSTER = of_kind("RayCluster")[0]["spec"]
GROUPS = {"head": CLUSTER["headGroupSpec"], **{group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}}
WORKERS = [name for name in GROUPS if name != "head"]


def pod(name: str) -> dict[str, Any]:
    found: dict[str, Any] = GROUPS[name]["template"]["spec"]
    return found


def container(name: str) -> dict[str, Any]:
    (found,) = pod(name)["containers"]
    return dict(found)


def volume_at(name: str, path: str) -> dict[str, Any]:
    (mount,) = (each for each in container(name)["volumeMounts"] if each["mountPath"] == path)
    (volume,) = (each for each in pod(name)["volumes"] if each["name"] == mount["name"])
    return {**volume, "readOnly": mount.get("readOnly", False)}


# -- Ray's launcher ---------------------------------------------------------------------------------------------------


@pytest.mark.ray
def test_the_launcher_s_file_fits_the_schema_that_comes_with_ray() -> None:
    autoscaler = pytest.importorskip("ray.autoscaler", reason="needs Ray, which comes with the extra cluster")
    schema = json.loads(Path(autoscaler.__file__).with_name("ray-schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(LAUNCHER, schema)


def test_all_machines_are_started_with_a_token_and_keep_their_outboxes_in_one_place() -> None:
    for part in ("head", "worker"):
        _, start = LAUNCHER[f"{part}_start_ray_commands"]
        for words in ("RAY_AUTH_MODE=token", "SPADE_NODE_FOLDER=/var/lib/spade-stream/node", "--labels-file="):
            assert words in start, part


@pytest.mark.ray
def test_ray_reads_the_labels_that_the_file_speaks_of(tmp_path: Path) -> None:
    labels = pytest.importorskip("ray._private.label_utils", reason="needs Ray, which comes with the extra cluster")
    text = (RAY / "cluster.yaml").read_text(encoding="utf-8")
    shown = dict(re.findall(r'"(spade-\w+): (\w+)"', text))
    assert shown.keys() == {NETWORK_LABEL, ROLE_LABEL}
    for content, expected in ((yaml.safe_dump(shown), shown), ("{}", {})):
        file = tmp_path / "labels.yaml"
        file.write_text(content)
        assert labels.parse_node_labels_from_yaml_file(str(file)) == expected


def test_files_name_the_version_of_ray_that_is_pinned() -> None:
    (pinned,) = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert CLUSTER["rayVersion"] == pinned
    assert f"ray[default]=={pinned}" in (RAY / "cluster.yaml").read_text(encoding="utf-8")


@pytest.mark.ray
def test_what_ray_needs_is_pinned_too_for_all_nodes_must_have_the_same() -> None:
    try:
        needs = metadata.requires("ray") or []
    except metadata.PackageNotFoundError:
        pytest.skip("needs Ray, which comes with the extra cluster")
    names = {re.split(r"[^\w-]", need)[0].lower() for need in needs if "extra ==" not in need}
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert names - {name.lower() for name in pinned} == set()


# -- KubeRay ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GROUPS)
def test_a_pod_has_no_privileges(name: str) -> None:
    spec, confined = pod(name), container(name)["securityContext"]
    assert spec["automountServiceAccountToken"] is False
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 10001)
    assert confined == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert {"cpu", "memory"} <= container(name)["resources"]["limits"].keys()


@pytest.mark.parametrize("name", GROUPS)
def test_ray_may_write_where_it_has_to(name: str) -> None:
    assert "emptyDir" in volume_at(name, "/tmp")
    assert volume_at(name, "/dev/shm")["emptyDir"]["medium"] == "Memory"


@pytest.mark.parametrize("name", WORKERS)
def test_the_outboxes_of_a_worker_stay_on_the_disk_of_its_machine_and_two_pods_never_share_it(name: str) -> None:
    folder = {each["name"]: each["value"] for each in container(name)["env"]}["SPADE_NODE_FOLDER"]
    assert volume_at(name, folder)["hostPath"]["type"] == "Directory"
    (rule,) = pod(name)["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert GROUPS[name]["labels"].keys() <= {NETWORK_LABEL, ROLE_LABEL}


def test_alerts_and_the_ledger_of_the_head_outlive_its_pod() -> None:
    assert "persistentVolumeClaim" in volume_at("head", "/var/lib/spade-stream")


def test_workers_cannot_write_to_the_galleries() -> None:
    assert [volume_at(name, "/galleries")["readOnly"] for name in GROUPS] == [False, *(True for _ in WORKERS)]


def test_every_claim_that_is_mounted_is_made() -> None:
    claims = [
        each["persistentVolumeClaim"]["claimName"]
        for name in GROUPS
        for each in pod(name)["volumes"]
        if "persistentVolumeClaim" in each
    ]
    assert set(claims) == {each["metadata"]["name"] for each in of_kind("PersistentVolumeClaim")}


@pytest.mark.parametrize("name", GROUPS)
def test_a_probe_asks_a_port_that_the_container_has(name: str) -> None:
    ports = {port["containerPort"] for port in container(name)["ports"]}
    for probe in ("livenessProbe", "readinessProbe"):
        assert container(name)[probe]["tcpSocket"]["port"] in ports


def test_who_is_not_of_the_cluster_reaches_no_port_of_ray() -> None:
    (policy,) = of_kind("NetworkPolicy")
    inside, outside = policy["spec"]["ingress"]
    own = {"ray.io/cluster": of_kind("RayCluster")[0]["metadata"]["name"]}
    assert policy["spec"]["podSelector"]["matchLabels"] == inside["from"][0]["podSelector"]["matchLabels"] == own
    directory = int(DEFAULT_DIRECTORY.rpartition(":")[2])
    assert [(port["port"], port.get("endPort")) for port in outside["ports"]] == [(directory, None), (8500, 8599)]
    assert CLUSTER["authOptions"] == {"mode": "token"}


def test_passwords_reach_the_head_alone_and_stand_in_no_file() -> None:
    assert container("head")["envFrom"] == [{"secretRef": {"name": "spade-stream-cameras"}}]
    assert all("envFrom" not in container(name) for name in WORKERS)
    names = [each["name"] for name in GROUPS for each in container(name)["env"]]
    assert not [name for name in names if re.search("PASSWORD|TOKEN|SECRET", name)]


def test_the_head_starts_a_program_that_the_images_have() -> None:
    for file in ("Dockerfile", "Dockerfile.cuda"):
        text = (DEPLOY / file).read_text(encoding="utf-8")
        assert f"deploy/ray/head.sh {container('head')['command'][0]}\n" in text
        assert re.search(r"'\.\[\w+,kafka,cluster\]'", text), "Ray is in the image"


# -- systemd ----------------------------------------------------------------------------------------------------------


def test_systemd_has_no_complaints_about_ray_s_unit_and_the_run_s_addition(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    added = tmp_path / "spade-stream.service.d" / "cluster.conf"
    added.parent.mkdir()
    sources = {
        tmp_path / "spade-ray.service": RAY / "spade-ray.service",
        tmp_path / "spade-stream.service": DEPLOY / "spade-stream.service",
        added: RAY / "spade-stream-cluster.conf",
    }
    for unit, source in sources.items():
        text = source.read_text(encoding="utf-8")
        unit.write_text(re.sub(r"/opt/spade-stream/\.venv/bin/[\w-]+", "/bin/true", text))
    assert lint(analyze, "verify", tmp_path / "spade-ray.service", tmp_path / "spade-stream.service") == ""


def test_both_services_have_the_same_token_and_see_the_same_files_of_ray() -> None:
    unit, added = (
        (RAY / name).read_text(encoding="utf-8") for name in ("spade-ray.service", "spade-stream-cluster.conf")
    )
    token = "Environment=RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/etc/spade-stream/ray.token"
    assert token in unit
    assert token in added
    assert "PrivateTmp=yes" not in unit
    assert "PrivateTmp=no" in added


# -- the head's container ---------------------------------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Programs that note what happens to them, in place of Ray and of the run."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    (folder / "ray").write_text(
        "#!/bin/sh\n"
        f'case "$1" in\n  start) echo "ray started" >>{log}; exec sleep 300;;\n'
        f"  health-check) exec grep -qs started {log};;\n"
        f'  stop) echo "ray stop" >>{log};;\nesac\n'
    )
    (folder / "spade-stream-entrypoint").write_text(
        "#!/bin/sh\n"
        f"trap 'echo \"run drained\" >>{log}; exit 0' TERM\n"
        f'echo "$*" >>{log}\n'
        f'if [ -e {tmp_path}/code ]; then code=$(cat {tmp_path}/code); rm {tmp_path}/code; exit "$code"; fi\n'
        "while :; do sleep 0.05; done\n"
    )
    for program in folder.iterdir():
        program.chmod(0o755)
    return tmp_path


@contextmanager
def head(programs: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "PATH": f"{programs / 'bin'}:/usr/bin:/bin",
        "KUBERAY_GEN_RAY_START_CMD": "ray start --head --block",
        "SPADE_PAUSE": "0.05",
    }
    process = subprocess.Popen([RAY / "head.sh", "/etc/campus.yaml"], env=environment, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # what it has started is of its session
        process.wait(PATIENCE_S)


def log_of(programs: Path, *, lines: int) -> list[str]:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = (programs / "log").read_text().splitlines() if (programs / "log").exists() else []
        if len(found) >= lines:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{found} and no more")


RUN = "run /etc/campus.yaml --cluster auto"


def test_the_run_drains_before_ray_is_ended(programs: Path) -> None:
    with head(programs) as process:
        assert log_of(programs, lines=2) == ["ray started", RUN]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert log_of(programs, lines=4) == ["ray started", RUN, "run drained", "ray stop"]


def test_a_run_that_dies_is_started_again_while_ray_goes_on(programs: Path) -> None:
    (programs / "code").write_text("1")
    with head(programs):
        assert log_of(programs, lines=3) == ["ray started", RUN, RUN]


def test_a_wrong_configuration_ends_the_container(programs: Path) -> None:
    (programs / "code").write_text("2")
    with head(programs) as process:
        assert process.wait(PATIENCE_S) == 2


# -- the documents ----------------------------------------------------------------------------------------------------


def test_the_page_names_every_file_of_the_folder() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert [file.name for file in RAY.iterdir() if f"`deploy/ray/{file.name}`" not in page] == []
