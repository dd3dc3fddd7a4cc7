"""Rules that every dashboard and alert keeps; what they show is tested with the real programs."""

from __future__ import annotations

import itertools
import json
import re
import subprocess

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from followthrough.metrics import catalogue
from tests.support import HOME, python

COMMITTED = HOME / "grafana" / "dashboards" / "followthrough.json"
UNITS = {"reqps", "ops", "s", "percentunit", "short", "none"}
OTHERS = {"up", "traces_span_metrics_duration_seconds_bucket", "telemetry_scrape_errors_total"}


def dashboard():
    return json.loads(COMMITTED.read_text(encoding="utf-8"))


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions():
    return [t["expr"] for panel in panels() for t in panel["targets"] if "expr" in t]


def rules():
    groups = yaml.safe_load((HOME / "prometheus/rules/followthrough.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def test_the_committed_dashboard_is_the_generated_one(tmp_path):
    """Whoever changes a panel also commits the JSON: `python grafana/generate.py`."""
    subprocess.run(python("grafana/generate.py", str(tmp_path)), cwd=HOME, check=True)
    generated = (tmp_path / COMMITTED.name).read_text(encoding="utf-8")
    assert generated == COMMITTED.read_text(encoding="utf-8")


def test_the_dashboard_has_a_fixed_address():
    """The uid is what links point to; nobody edits what is generated."""
    value = dashboard()
    assert value["uid"] == "followthrough"
    assert value["title"]
    assert value["description"]
    assert not value["editable"]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_each_panel_explains_itself(panel):
    """A title, a sentence, a unit, and a data source that the viewer can choose."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    chosen = {target["datasource"]["uid"] for target in panel["targets"]}
    assert chosen <= {"${datasource}", "${traces}"}
    assert chosen == {panel["datasource"]["uid"]}
    if panel["type"] == "timeseries" and len(panel["targets"]) > 1:
        assert all(target["legendFormat"] != "__auto" for target in panel["targets"])


def test_variables_that_panels_use_exist():
    """Each $variable is defined by the dashboard or by Grafana."""
    defined = {variable["name"] for variable in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", " ".join(expressions())))
    assert used <= defined | {"__rate_interval", "__range"}


@pytest.mark.parametrize("expr", expressions())
def test_each_expression_fits_any_zoom_and_any_number_of_hosts(expr):
    """Windows follow the shown time; a counter is a rate, summed over its hosts."""
    assert re.findall(r"\[(?!\$__rate_interval\]|\$__range\])", expr) == []
    counters = re.findall(r"\b\w+_(?:total|bucket|count)\b", expr)
    if counters:
        assert "sum" in expr
        assert "rate(" in expr or "increase(" in expr or "offset" in expr


def test_panels_do_not_overlap():
    """Every panel has an id and a place of its own."""
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    cells = list(itertools.chain.from_iterable(cells_of(panel["gridPos"]) for panel in everything))
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def cells_of(place):
    columns = range(place["x"], place["x"] + place["w"])
    return itertools.product(columns, range(place["y"], place["y"] + place["h"]))


def known_metrics():
    """Names of the kit's catalogue as Prometheus has them, of the rules, and of other programs."""
    ours = [metric for value in vars(catalogue).values() for metric in described(value)]
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    names = {m.name + ending for m in ours for ending in endings[m.type]}
    return names | {rule["record"] for rule in rules() if "record" in rule} | OTHERS


def described(value):
    return value.describe() if isinstance(value, MetricWrapperBase) else []


@pytest.mark.parametrize("expr", [*expressions(), *(rule["expr"] for rule in rules())])
def test_expressions_name_metrics_that_exist(expr):
    """A metric that is renamed in the catalogue is renamed here too."""
    found = re.findall(r"\b(?:\w+:[\w:]+|\w+_(?:total|bucket|count|sum))\b", expr)
    names = {name for name in found if not name.startswith("otelcol_")}
    assert names <= known_metrics()


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_each_alert_tells_what_to_do(rule):
    """Severity, a summary, a description, and a runbook that exists under the alert's name."""
    assert re.findall(r"\b(?:critical|warning)\b", rule["labels"]["severity"])
    notes = rule["annotations"]
    assert notes["summary"]
    assert notes["description"].endswith(".")
    assert notes["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
    assert (HOME / notes["runbook_url"]).read_text().startswith(f"# {rule['alert']}\n")
    assert notes["dashboard_url"] == f"/d/{dashboard()['uid']}"


def test_each_alert_has_a_unit_test():
    """No alert is committed that was never seen to fire."""
    tests = yaml.safe_load((HOME / "prometheus/tests/followthrough.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test.get("alert_rule_test", [])
        if case["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in alerts()}


def test_graphs_lead_to_traces():
    """An exemplar's trace_id opens in the provisioned Jaeger."""
    path = HOME / "grafana/provisioning/datasources/followthrough.yml"
    sources = {s["type"]: s for s in yaml.safe_load(path.read_text())["datasources"]}
    (link,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "trace_id"
    assert link["datasourceUid"] == sources["jaeger"]["uid"]
