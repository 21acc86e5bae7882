"""What is deployed beside a run: Prometheus takes the files, they ask only for what there is, and the rules fire."""

from __future__ import annotations

import itertools
import json
import logging
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitoring_fakes import a_status, an_outbox
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from stream.console.metrics import METRICS, metrics_text
from stream.latency import STAGES
from stream.logs import JsonFormatter

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES, SCRAPES = DEPLOY / "prometheus" / "alerts.yml", DEPLOY / "prometheus" / "prometheus.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "spade-stream.json").read_text(encoding="utf-8"))
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (of Prometheus) is not installed")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def questions() -> dict[str, str]:
    """Every expression of the dashboard and of the rules, by where it stands."""
    panels = {f"panel {p['title']}, {t['refId']}": t["expr"] for p in DASHBOARD["panels"] for t in p["targets"]}
    variables = {f"variable {v['name']}": v.get("definition", "") for v in DASHBOARD["templating"]["list"]}
    return {**panels, **variables, **{f"rule {rule['alert']}": rule["expr"] for rule in rules()}}


def promtool(*words: str, cwd: Path) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Prometheus' folder as it is where it runs: with the token."""
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus")
    (tmp_path / "prometheus" / "spade-stream.token").write_text("secret")
    return tmp_path / "prometheus"


@pytest.mark.parametrize(("where", "expression"), questions().items(), ids=questions().keys())
def test_whatever_is_asked_for_is_told(where: str, expression: str) -> None:
    text = metrics_text(a_status(), an_outbox()).decode()
    told = set(re.findall(r"^(spade_\w+)", text, re.MULTILINE))

    assert set(re.findall(r"\bspade_\w+", expression)) - told == set()


@pytest.mark.parametrize(("where", "expression"), questions().items(), ids=questions().keys())
def test_every_label_that_is_asked_for_is_one_of_the_metric(where: str, expression: str) -> None:
    names = [name.removesuffix("_bucket") for name in re.findall(r"\bspade_\w+", expression)]
    labels = {label for name in names for label in METRICS[name].labels} | {"le", "job", "instance"}
    selectors = re.findall(r"\{([^}]*)\}", expression)
    asked = {label for selector in selectors for label in re.findall(r"(\w+)\s*=?[=~!]", selector)}
    asked |= {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}

    assert asked - labels == set()


def test_the_texts_of_rules_name_labels_that_there_are() -> None:
    for rule in rules():
        metrics = [name.removesuffix("_bucket") for name in re.findall(r"spade_\w+", rule["expr"])]
        known = {label for name in metrics for label in METRICS[name].labels}
        named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert named <= known | {"instance"}, rule["alert"]


def test_the_panels_lie_beside_one_another() -> None:
    boxes = [(panel["title"], panel["gridPos"]) for panel in DASHBOARD["panels"]]

    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (one, other)
    assert all(box["x"] + box["w"] <= 24 for _, box in boxes)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(boxes)


def test_the_dashboard_asks_the_data_source_that_the_user_chooses() -> None:
    asked = [target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]]

    assert set(asked) == {"${datasource}"}


def test_grafana_is_told_where_both_are() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))
    boards = yaml.safe_load((provisioning / "dashboards" / "spade-stream.yml").read_text(encoding="utf-8"))

    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    assert [board["type"] for board in boards["providers"]] == ["file"]


@pytest.mark.promtool
@needs_promtool
def test_prometheus_takes_the_rules_and_the_configuration(folder: Path) -> None:
    assert f"{len(rules())} rules found" in promtool("check", "rules", "alerts.yml", cwd=folder)
    assert "is valid prometheus config" in promtool("check", "config", "prometheus.yml", cwd=folder)


@pytest.mark.promtool
@needs_promtool
def test_no_panel_shows_a_number_while_nothing_answers(tmp_path: Path) -> None:
    asked = [
        target["expr"].replace('{camera=~"$camera"}', "").replace("$camera", ".*").replace("$__rate_interval", "1m")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]
    nothing = {
        "interval": "15s",
        "input_series": [],
        "promql_expr_test": [{"expr": expression, "eval_time": "5m", "exp_samples": []} for expression in asked],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"tests": [nothing]}))
    promtool("test", "rules", "test.yml", cwd=tmp_path)


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule sees, a value a minute, and when it must be quiet and when it must fire."""

    series: dict[str, str]  # in the notation of 'promtool test rules': 1x9 = ten times 1
    quiet_at: str
    fires_at: str
    labels: dict[str, str] = field(default_factory=dict)
    value: str = ""  # in its text


CASES = {
    "SpadeCameraNotWatched": Case(
        {'spade_camera_watched{camera="gate"}': "1x9 0x20", 'spade_camera_watched{camera="back"}': "1x29"},
        quiet_at="11m",  # two minutes of patience
        fires_at="13m",
        labels={"camera": "gate"},
    ),
    "SpadeNotAnswering": Case(
        {'up{job="spade-stream",instance="site:8470"}': "1x9 0x20"},
        quiet_at="10m",
        fires_at="12m",
        labels={"job": "spade-stream", "instance": "site:8470"},
    ),
    "SpadeSupervisorNotUp": Case({"spade_supervisor_up": "1x9 0x20"}, quiet_at="10m", fires_at="12m"),
    "SpadeSceneFailed": Case(
        {'spade_scene_failed{scene="dock"}': "_x9 1x20"}, quiet_at="10m", fires_at="13m", labels={"scene": "dock"}
    ),
    "SpadeWorkerDegraded": Case(
        {
            'spade_worker_state{state="DEGRADED"}': "0x9 1x20",
            'spade_worker_state{state="RUNNING"}': "1x9 0x20",
        },
        quiet_at="14m",
        fires_at="16m",
        labels={"state": "DEGRADED"},
    ),
    "SpadeMessagesLost": Case(
        {
            'spade_worker_lost_messages_total{kind="start"}': "0x9 7x40",  # 0 is told before anything is lost
            'spade_worker_lost_messages_total{kind="end"}': "0x50",
        },
        quiet_at="9m",
        fires_at="11m",
        labels={"kind": "start"},
    ),
    "SpadeOutboxNotReadable": Case({"spade_outbox_up": "1x9 0x20"}, quiet_at="11m", fires_at="13m"),
    "SpadeSinkFailing": Case(
        {'spade_sink_failing{sink="hook"}': "0x9 1x20", 'spade_sink_failing{sink="archive"}': "0x2 1x3 0x30"},
        quiet_at="14m",
        fires_at="16m",
        labels={"sink": "hook"},
    ),
    "SpadeAlertsLaidAside": Case(
        {
            'spade_sink_rejected_total{sink="hook"}': "0x9 1x20",
            'spade_sink_rejected_total{sink="archive"}': "5x30",  # of before
        },
        quiet_at="9m",
        fires_at="11m",
        labels={"sink": "hook"},
    ),
    "SpadeFramesOld": Case(
        {
            'spade_frame_age_seconds_bucket{camera="gate",le="5.0"}': "0x60",
            'spade_frame_age_seconds_bucket{camera="gate",le="10.0"}': "0+60x60",
            'spade_frame_age_seconds_bucket{camera="gate",le="+Inf"}': "0+60x60",
            'spade_frame_age_seconds_bucket{camera="back",le="5.0"}': "0+60x60",
            'spade_frame_age_seconds_bucket{camera="back",le="10.0"}': "0+60x60",
            'spade_frame_age_seconds_bucket{camera="back",le="+Inf"}': "0+60x60",
        },
        quiet_at="9m",
        fires_at="20m",
        labels={"camera": "gate"},
    ),
    "SpadeClusterControlNotHeard": Case({"spade_cluster_control_up": "1x9 0x20"}, quiet_at="10m", fires_at="12m"),
    "SpadeClusterNodeGone": Case(
        {'spade_cluster_node_up{node="oak"}': "1x9 0x20", 'spade_cluster_node_up{node="elm"}': "1x29"},
        quiet_at="10m",
        fires_at="12m",
        labels={"node": "oak"},
    ),
    "SpadeClusterWorkerNotUp": Case(
        {'spade_cluster_worker_up{node="oak",worker="oak:0"}': "1x9 0x20"},
        quiet_at="11m",
        fires_at="13m",
        labels={"node": "oak", "worker": "oak:0"},
    ),
    "SpadeClusterOutboxMissing": Case(
        {
            'spade_cluster_outbox_missing{node="oak",outbox="a1"}': "0x9 1x20",
            'spade_cluster_outbox_missing{node="elm",outbox="b2"}': "0x2 1x3 0x30",  # a node that was restarted
        },
        quiet_at="14m",
        fires_at="16m",
        labels={"node": "oak", "outbox": "a1"},
    ),
    "SpadeClusterOverloaded": Case(
        {'spade_cluster_worker_load_ratio{node="oak",worker="oak:0"}': "1x9 1.1x20"},
        quiet_at="19m",
        fires_at="21m",
        labels={"node": "oak", "worker": "oak:0"},
    ),
    "SpadeConfigRefused": Case({"spade_config_last_reload_successful": "1x9 0x20"}, quiet_at="14m", fires_at="16m"),
    "SpadeWorkerNotUp": Case({"spade_worker_up": "1x9 0x20"}, quiet_at="10m", fires_at="12m"),
    "SpadeOutboxGrowing": Case(
        {
            'spade_outbox_pending{subscriber="archive"}': "0x4 1+1x40",
            'spade_outbox_pending{subscriber="phone"}': "0x4 40-1x39 0x20",  # slow, but it takes them
        },
        quiet_at="14m",
        fires_at="30m",
        labels={"subscriber": "archive"},
        value="16",  # the least of the last ten minutes: 1 at minute 5, one more each minute, minute 20
    ),
    "SpadeProcessKeepsDying": Case(
        {
            'spade_process_restarts_total{process="sink"}': "0x9 1+1x20",
            'spade_process_restarts_total{process="feed"}': "0x9 1x20",  # died once
        },
        quiet_at="11m",
        fires_at="15m",
        labels={"process": "sink"},
    ),
}


def test_every_rule_is_tried() -> None:
    assert set(CASES) == {rule["alert"] for rule in rules()}


@pytest.mark.promtool
@needs_promtool
@pytest.mark.parametrize("alert", CASES)
def test_a_rule_fires_when_something_is_wrong_and_not_before(folder: Path, alert: str) -> None:
    case = CASES[alert]
    (rule,) = (rule for rule in rules() if rule["alert"] == alert)
    fired = {"exp_labels": {**rule["labels"], **case.labels}, "exp_annotations": texts_of(rule, case)}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {"alertname": alert, "eval_time": case.quiet_at, "exp_alerts": []},
            {"alertname": alert, "eval_time": case.fires_at, "exp_alerts": [fired]},
        ],
    }
    (folder / "test.yml").write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "tests": [test]}))

    promtool("test", "rules", "test.yml", cwd=folder)


def texts_of(rule: dict[str, Any], case: Case) -> dict[str, str]:
    """The rule's texts, filled in."""
    places = {"{{ $value }}": case.value, **{f"{{{{ $labels.{name} }}}}": text for name, text in case.labels.items()}}
    filled = dict(rule["annotations"])
    for place, text in places.items():
        filled = {name: words.replace(place, text) for name, words in filled.items()}
    return filled


# The page

PAGE = (DEPLOY.parent / "docs" / "monitoring.md").read_text(encoding="utf-8")


def test_the_page_describes_every_metric_and_no_other() -> None:
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    rows = re.findall(r"^\| `(spade_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", PAGE, re.MULTILINE)

    assert {name: (kinds[kind], tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows} == {
        name: (described.kind, described.labels) for name, described in METRICS.items()
    }
    assert [name for name, _, _, text in rows if not text.startswith(METRICS[name].text)] == []


def test_the_page_describes_every_rule_and_every_stage() -> None:
    assert re.findall(r"^\| `(Spade\w+)` \|", PAGE, re.MULTILINE) == [rule["alert"] for rule in rules()]
    assert re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \|$", PAGE.split("The stages of")[1], re.MULTILINE)[:5] == [
        *STAGES
    ]


def test_the_example_of_a_log_line_is_one() -> None:
    (line,) = re.findall(r'^    (\{"time".*\})$', PAGE, re.MULTILINE)
    example = json.loads(line)
    record = logging.LogRecord(
        "stream.camera", logging.WARNING, "", 0, "camera %s is %s", ("north-gate", "FROZEN"), None
    )
    assert list(example) == list(json.loads(JsonFormatter("score").format(record)))
