"""The service's spans through the real Collector into the real Jaeger, with the committed files."""

from __future__ import annotations

import secrets
import urllib.error

import pytest

from tests.stack import programs, traffic
from tests.support import free_port, running, wait_for

pytestmark = pytest.mark.stack


def test_the_collector_takes_its_config():
    """`otelcol validate` accepts the committed file as it is and with every address moved."""
    programs.run("otelcol", "validate", "--config", "otel-collector.yaml")
    moved = {"COLLECTOR_OTLP_HTTP": "127.0.0.1:1", "COLLECTOR_KEEP_PERCENT": "12.5"}
    programs.run("otelcol", "validate", "--config", "otel-collector.yaml", env=moved)


def test_a_wrong_setting_of_the_collector_is_refused():
    """The check above can fail: a share that is no number is an error."""
    wrong = {"COLLECTOR_KEEP_PERCENT": "some"}
    with pytest.raises(AssertionError, match="sampling_percentage"):
        programs.run("otelcol", "validate", "--config", "otel-collector.yaml", env=wrong)


def test_one_request_is_one_trace(stack):
    """Server, publish, task and mail span: one trace, right parents, kinds and services."""
    answer = traffic.send_email(stack, "grace@example.com")
    assert traffic.ended(stack, answer["task_id"])["state"] == "SUCCESS"
    assert [m for m in traffic.mails(stack) if m["To"] == "grace@example.com"]

    spans = traffic.all_spans(stack, answer["trace_id"], 4)
    kinds = {span["tags"]["span.kind"]: span for span in spans}
    assert len(spans) == len(kinds) == 4
    assert traffic.parent(kinds["server"]) is None
    assert traffic.parent(kinds["producer"]) == kinds["server"]["spanID"]
    assert traffic.parent(kinds["consumer"]) == kinds["producer"]["spanID"]
    assert traffic.parent(kinds["client"]) == kinds["consumer"]["spanID"]
    assert {kind: span["service"] for kind, span in kinds.items()} == {
        "server": "followthrough-web",
        "producer": "followthrough-web",
        "consumer": "followthrough-worker",
        "client": "followthrough-worker",
    }


def test_jaeger_finds_the_trace_by_service_and_tag(stack):
    """What the dashboard's table and a person search for is found."""
    answer = traffic.send_email(stack)
    traffic.all_spans(stack, answer["trace_id"], 4)
    search = stack.url("jaeger", 16686, "/api/traces")
    found = programs.get(search, service="followthrough-web", limit=20, lookback="1h")
    assert answer["trace_id"] in {trace["traceID"] for trace in found["data"]}


@pytest.fixture(scope="module")
def thrifty(stack, tmp_path_factory):
    """A Collector with the committed file that keeps no ordinary trace; its OTLP and metrics."""
    names = ["OTLP_GRPC", "OTLP_HTTP", "SPAN_METRICS", "HEALTH"]
    addresses = {f"COLLECTOR_{name}": f"127.0.0.1:{free_port()}" for name in names}
    env = {
        **addresses,
        "COLLECTOR_METRICS_PORT": str(free_port()),
        "JAEGER_OTLP_GRPC": f"127.0.0.1:{stack.ports['jaeger', 4317]}",
        "COLLECTOR_KEEP_PERCENT": "0",
        "COLLECTOR_SLOW_MS": "500",
        "COLLECTOR_DECISION_WAIT": "1s",
        "COLLECTOR_METRICS_FLUSH": "1s",
    }
    argv = [programs.program("otelcol"), "--config", "otel-collector.yaml"]
    with running(argv, tmp_path_factory.mktemp("otelcol") / "log", env):
        health = f"http://{addresses['COLLECTOR_HEALTH']}/"
        wait_for(lambda: programs.get(health), "the Collector is healthy")
        yield {name: f"http://{address}" for name, address in addresses.items()}


def arrived(stack, trace_id, count=1):
    try:
        return len(traffic.spans(stack, trace_id)) >= count
    except urllib.error.HTTPError:
        return False


def test_errors_and_slow_traces_are_kept_of_the_rest_a_share(stack, thrifty):
    """With a share of 0, an error and a slow trace come through and an ordinary one doesn't."""
    plain, failed, slow = (secrets.token_hex(16) for _ in range(3))
    into = f"{thrifty['COLLECTOR_OTLP_HTTP']}/v1/traces"
    programs.post(into, traffic.otlp(trace_id=plain))
    programs.post(into, traffic.otlp(trace_id=failed, error=True))
    programs.post(into, traffic.otlp(trace_id=slow, seconds=0.6))
    wait_for(lambda: arrived(stack, failed) and arrived(stack, slow), "both traces", 20)
    # A later span follows the decision, which for the ordinary trace was made with those above.
    programs.post(into, traffic.otlp(trace_id=plain))
    programs.post(into, traffic.otlp(trace_id=failed))
    wait_for(lambda: arrived(stack, failed, 2), "the late span", 20)
    assert not arrived(stack, plain)


def test_rates_are_made_of_all_spans_before_sampling(thrifty):
    """A trace that isn't kept is counted all the same."""
    into = f"{thrifty['COLLECTOR_OTLP_HTTP']}/v1/traces"
    programs.post(into, traffic.otlp(trace_id=secrets.token_hex(16)))
    metrics = f"{thrifty['COLLECTOR_SPAN_METRICS']}/metrics"
    calls = "traces_span_metrics_calls_total{"
    wait_for(
        lambda: any(
            line.startswith(calls)
            and 'service_name="by-hand"' in line
            and "STATUS_CODE_UNSET" in line
            for line in programs.get(metrics).splitlines()
        ),
        "the count of spans",
    )
