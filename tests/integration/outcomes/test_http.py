"""Whatever ends a request, span, line and count say the same of it, on each kind of server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.outcomes import http_rows

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("server", http_rows.SERVERS)
def test_each_request_is_told_once_and_the_same_way(tmp_path: Path, server: str) -> None:
    wrong = http_rows.run(tmp_path, server)
    told = http_rows.told(server, wrong)
    print(f"\n{told}")  # noqa: T201  the table is what this is for
    assert not wrong, told
