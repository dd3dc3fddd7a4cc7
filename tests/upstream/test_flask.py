# ruff: noqa: E501  whole lines of others' tests
"""OpenTelemetry's own tests of its Flask instrumentation pass with ours, up to docs/renames.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import HOME
from tests.support.upstream import Change, change, fetch, run

pytestmark = pytest.mark.upstream

PACKAGE = "opentelemetry-instrumentation-flask"

# Old names are said in new ones, as the table has them; what ours alone has is left out.
HELPERS = """
from followthrough.flask import FlaskInstrumentor

RENAMED = {
    "http.method": "http.request.method",
    "http.scheme": "url.scheme",
    "http.target": "url.path",
    "http.flavor": "network.protocol.version",
    "http.status_code": "http.response.status_code",
    "http.server_name": None,
    "http.host": None,
    "net.host.name": "server.address",
    "net.host.port": "server.port",
}


def renamed(attributes):
    pairs = {RENAMED.get(key, key): value for key, value in attributes.items()}
    if pairs.get("http.response.status_code") == 500:
        pairs["error.type"] = "ValueError"
    return {key: value for key, value in pairs.items() if key}


def of_duration(attributes):
    found = renamed({key: value for key, value in attributes.items() if key != "http.target"})
    found["http.route"] = attributes.get("http.route", attributes.get("http.target"))
    apart = ("server.address", "server.port")
    return {key: value for key, value in found.items() if value is not None and key not in apart}


def of_active(attributes):
    return {key: value for key, value in of_duration(attributes).items() if "protocol" not in key}


def shared(attributes):
    return {key: value for key, value in attributes.items() if key != "http.request.id"}
"""

FILE = "test_programmatic.py"
CHANGES = [
    Change(
        "http.method",
        FILE,
        "        default_attributes[key] = val\n    return default_attributes\n\n\ndef expected_attributes_new",
        "        default_attributes[key] = val\n    return renamed(default_attributes)\n\n\ndef expected_attributes_new",
    ),
    Change(
        "http.request.id",
        FILE,
        "self.assertEqual(span_list[0].attributes, expected_attrs)",
        "self.assertEqual(shared(span_list[0].attributes), expected_attrs)",
    ),
    Change("error.type", FILE, 'ERROR_TYPE: "500"', 'ERROR_TYPE: "ValueError"'),
    Change(
        "span name",
        FILE,
        'self.assertEqual(span_list[0].name, "POST /bye")',
        'self.assertEqual(span_list[0].name, "POST")',
    ),
    Change(
        "scope",
        FILE,
        'SCOPE = "opentelemetry.instrumentation.flask"',
        'SCOPE = "followthrough.flask"',
    ),
    Change(
        "http.server.duration",
        FILE,
        "self.assertIn(metric.name, _expected_metric_names_old)",
        "self.assertIn(metric.name, _expected_metric_names_new)",
    ),
    Change(
        "http.server.duration",
        FILE,
        "_recommended_metrics_attrs_old[metric.name]",
        "_recommended_metrics_attrs_new[metric.name]",
    ),
    Change(
        "http.server.duration",
        FILE,
        "                        expected_duration_attributes,\n                        dict(point.attributes),",
        "                        of_duration(expected_duration_attributes),\n                        dict(point.attributes),",
    ),
    Change(
        "http.server.duration",
        FILE,
        "                        expected_requests_count_attributes,\n                        dict(point.attributes),",
        "                        of_active(expected_requests_count_attributes),\n                        dict(point.attributes),",
    ),
]
CHANGES += [
    Change(
        "end of the answer",
        FILE,
        "        self.assertEqual(trace.SpanKind.INTERNAL, span_list[0].kind)",
        "        span_list = sorted(span_list, key=lambda span: span.kind.value)\n"
        "        self.assertEqual(trace.SpanKind.INTERNAL, span_list[0].kind)",
    ),
    Change(
        "log line",
        FILE,
        "        mock_span.is_recording.return_value = False",
        "        mock_span.is_recording.return_value = False\n"
        "        mock_span.get_span_context.return_value = trace.INVALID_SPAN_CONTEXT",
    ),
]
# They want requests to excluded URLs counted among the active ones.
WITHOUT = [
    "test_flask_metrics_excluded_urls",
    "test_flask_metrics_excluded_urls_new_semconv",
]


def test_upstream_s_tests_pass(tmp_path: Path):
    tests = fetch(PACKAGE, tmp_path)
    change(tests, HELPERS, CHANGES)
    without = [f"{FILE}::TestProgrammatic::{name}" for name in WITHOUT]
    done = run(tests, tmp_path / "state", without)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(WITHOUT)} deselected" in done.stdout


def test_each_change_has_its_row_in_the_table():
    table = (HOME / "docs" / "renames.md").read_text()
    for row in {each.row for each in CHANGES}:
        assert row in table
