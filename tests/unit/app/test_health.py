"""Health checks: answered, and kept out of the traces."""

from __future__ import annotations

import pytest

from followthrough.testing import capture


@pytest.mark.parametrize("path", ["/api/health", "/api/ready"])
def test_a_health_check_leaves_no_span(make_app, tmp_path, path):
    """They come every few seconds, and would bury what people look for."""
    with capture(tmp_path) as told:
        client = make_app().test_client()
        client.get(path)
        client.get("/api/task-status/unknown")
        assert [span.name for span in told.spans] == ["GET /api/task-status/<task_id>"]


def test_paths_that_lead_nowhere_are_one_operation(make_app, tmp_path):
    """Whatever strangers try, the list of operations stays short."""
    with capture(tmp_path) as told:
        client = make_app().test_client()
        client.get("/wp-login.php")
        client.get("/api/unknown")
        assert [span.name for span in told.spans] == ["GET", "GET"]
