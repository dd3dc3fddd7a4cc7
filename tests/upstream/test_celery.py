"""OpenTelemetry's own tests of its Celery instrumentation pass with ours, up to docs/renames.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import HOME
from tests.support.upstream import Change, change, fetch, run

pytestmark = pytest.mark.upstream

PACKAGE = "opentelemetry-instrumentation-celery"
HELPERS = "from followthrough.celery.instrumentor import CeleryInstrumentor\n"
FILE = "test_tasks.py"
CHANGES = [
    Change(row, FILE, old, new)
    for row, old, new in [
        ("span name", '"run/', '"process '),
        ("span name", '"apply_async/', '"send '),
        ("celery.action", '"celery.action": "run"', '"messaging.operation.name": "process"'),
        ("celery.action", '"celery.action": "apply_async"', '"messaging.operation.name": "send"'),
        ("celery.state", '"celery.state": "SUCCESS"', '"celery.outcome": "success"'),
        ("celery.state", '"celery.state": "FAILURE"', '"celery.outcome": "failure"'),
        (
            "messaging.destination_kind",
            '                SpanAttributes.MESSAGING_DESTINATION_KIND: "queue",\n',
            "",
        ),
        (
            "messaging.destination",
            "SpanAttributes.MESSAGING_DESTINATION",
            '"messaging.destination.name"',
        ),
    ]
]


def test_upstream_s_tests_pass(tmp_path: Path):
    # The names of its tasks begin with their package's.
    tests = fetch(PACKAGE, tmp_path, "tests")
    change(tests, HELPERS, CHANGES)
    done = run(tests, tmp_path / "state", [])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deselected" not in done.stdout


def test_each_change_has_its_row_in_the_table():
    table = (HOME / "docs" / "renames.md").read_text().partition("## Tasks")[2]
    for row in {each.row for each in CHANGES}:
        assert row in table
