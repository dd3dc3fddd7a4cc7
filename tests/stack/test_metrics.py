"""Prometheus with the committed config, rules and dashboard, on what the real service counts."""

from __future__ import annotations

import json
import math
import subprocess
import time

import pytest

from tests.stack import programs, traffic
from tests.stack.programs import program, run
from tests.support import HOME, wait_for

pytestmark = pytest.mark.stack
RULES = HOME / "prometheus" / "rules" / "followthrough.yml"
RULE_TESTS = HOME / "prometheus" / "tests" / "followthrough.yml"
VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$task": ".*"}
# Telemetry has no errors of its own, so this shows nothing; it's drawn beside a line that does.
EMPTY = "telemetry_errors_total"


def test_promtool_takes_config_and_rules():
    """promtool accepts prometheus.yml with its rules, and the rules' unit tests pass."""
    run("promtool", "check", "config", "--lint=all", "--lint-fatal", "prometheus/prometheus.yml")
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)
    run("promtool", "test", "rules", RULE_TESTS)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("ratio_rate5m > 0.05", "ratio_rate5m > 0.5"),
        ('{outcome=~"failure|', '{outcome=~"retry|'),
        ("unless sum by (task) (increase(celery", "unless sum (increase(celery"),
        ('=~"5.."', '=~"4.."'),
        ("absent(up", "absent(down"),
        (" unless telemetry_errors_total offset 15m", ""),
    ],
)
def test_the_rules_unit_tests_notice_a_wrong_rule(tmp_path, right, wrong):
    """Each rule's unit test can fail."""
    text = RULES.read_text()
    assert right in text
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "rules" / RULES.name).write_text(text.replace(right, wrong))
    copy = tmp_path / "tests" / RULE_TESTS.name
    copy.write_text(RULE_TESTS.read_text())
    with pytest.raises(AssertionError, match="FAILED"):
        run("promtool", "test", "rules", copy)


@pytest.fixture(scope="module")
def busy(stack):
    """The stack after requests and tasks that came between two scrapes of everything."""
    wait_for(lambda: values(stack, "up") == [1.0] * 4, "all up", 30)
    for _ in range(2):
        before = scrapes(stack)
        answer = traffic.send_email(stack)
        assert traffic.ended(stack, answer["task_id"])["state"] == "SUCCESS"
        wait_for(lambda b=before: scrapes(stack) >= b + 2, "two scrapes", 30)
    without_arguments = ["celery", "-A", "app.worker", "call", "tasks.send_email"]
    called = stack.exec("worker", without_arguments, "worker-1")
    assert called.returncode == 0, called.stderr
    wait_for(lambda: values(stack, FAILED), "the failed task", 30)
    return stack


FAILED = 'celery_task_results_total{outcome="failure", error_type="TypeError"} > 0'


def query(stack, expr):
    answer = programs.get(stack.url("prometheus", 9090, "/api/v1/query"), query=expr)
    assert answer.get("warnings", []) == []
    return answer["data"]["result"]


def values(stack, expr):
    return [float(sample["value"][1]) for sample in query(stack, expr)]


def scrapes(stack):
    return min(values(stack, "count_over_time(up[1h])"))


def test_promtool_likes_the_agents_metrics(busy):
    """Names, types and help texts of /metrics follow Prometheus's rules."""
    metrics = programs.get(busy.url("agent", 9464, "/metrics"))
    assert "celery_task_results_total{" in metrics
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=metrics,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_agent_counts_what_web_and_workers_did(busy):
    """Requests and tasks of four processes, in Prometheus, from one target."""
    of = 'task="tasks.send_email"'
    published = f"sum(celery_tasks_published_total{{{of}}})"
    done = f'sum(celery_task_results_total{{{of}, outcome="success"}})'
    answered = (
        'sum(http_server_request_duration_seconds_count{http_request_method="POST", '
        'http_route="/api/send-email", http_response_status_code="202"})'
    )
    assert values(busy, published) >= [2]
    same = f"{published} == {done} == {answered}"
    wait_for(lambda: query(busy, same), "as many requests as tasks published and done")


def test_a_first_failure_is_seen(busy):
    """The table shows a failure though its series begins with it."""
    (panel,) = [panel for panel in panels() if panel["title"] == "Failures by error"]
    expr = panel["targets"][0]["expr"].replace("$__range", "1h").replace("$task", ".*")
    (row,) = query(busy, expr)
    assert row["metric"] == {"task": "tasks.send_email", "error_type": "TypeError"}
    assert row["value"][1] == "1"


def test_every_rule_runs(busy):
    """Prometheus evaluates each rule without an error, and no alert is up."""
    url = busy.url("prometheus", 9090, "/api/v1/rules")

    def evaluated():
        groups = programs.get(url)["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    rules = wait_for(evaluated, "the rules' first run")
    assert len(rules) > 10
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule.get("state", "inactive") == "firing"] == []


def panels():
    text = (HOME / "grafana" / "dashboards" / "followthrough.json").read_text()
    return [panel for panel in json.loads(text)["panels"] if panel["type"] != "row"]


def targets():
    return [
        pytest.param(panel, target["expr"], id=f"{panel['title']}-{target['refId']}")
        for panel in panels()
        for target in panel["targets"]
        if "expr" in target
    ]


@pytest.mark.parametrize(("panel", "expr"), targets())
def test_every_panel_has_data(busy, panel, expr):
    """Each expression of the dashboard runs; it gives numbers in range, unless nothing failed."""
    empty = EMPTY in expr
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    if empty:
        assert query(busy, expr) == []
        return
    found = wait_for(lambda: finite(busy, expr), f"data of {panel['title']}", 20)
    assert min(found) >= 0
    if panel["fieldConfig"]["defaults"]["unit"] == "percentunit":
        assert max(found) <= 1


def finite(stack, expr):
    return [value for value in values(stack, expr) if math.isfinite(value)]


def test_the_panel_of_traces_has_data(busy):
    """The Jaeger panel's search finds traces; Grafana sends it as these parameters."""
    (search,) = [t for panel in panels() for t in panel["targets"] if "queryType" in t]
    url = busy.url("jaeger", 16686, "/api/traces")
    found = programs.get(url, service=search["service"], limit=search["limit"], lookback="1h")
    assert found["data"]


def test_the_choice_of_tasks_lists_them(busy):
    """The variable of the dashboard offers the service's tasks."""
    url = busy.url("prometheus", 9090, "/api/v1/label/task/values")
    names = programs.get(url, **{"match[]": "celery_task_results_total"})["data"]
    assert "tasks.send_email" in names


def test_an_exemplar_leads_to_its_trace(busy):
    """The dots on the mail's duration graph carry the id of a trace that Jaeger has."""
    url = busy.url("prometheus", 9090, "/api/v1/query_exemplars")
    metric = 'traces_span_metrics_duration_seconds_bucket{span_kind="SPAN_KIND_CLIENT"}'

    def exemplars():
        now = time.time()
        series = programs.get(url, query=metric, start=now - 600, end=now + 1)["data"]
        return [e["labels"]["trace_id"] for one in series for e in one["exemplars"]]

    trace_id = wait_for(exemplars, "exemplars", 20)[-1]
    assert len(traffic.all_spans(busy, trace_id, 4)) == 4


def test_health_checks_leave_no_traces(busy):
    """Compose asks for /api/health all day; Jaeger is kept free of it."""
    assert busy.healthy("web")
    traffic.all_spans(busy, traffic.send_email(busy)["trace_id"], 4)
    url = busy.url("jaeger", 16686, "/api/services/followthrough-web/operations")
    names = programs.get(url)["data"]
    assert any("/api/send-email" in name for name in names)
    assert not any("health" in name for name in names)
