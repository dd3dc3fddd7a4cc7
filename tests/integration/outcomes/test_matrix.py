"""Whatever ends a task, span, log line and count say the same of it: all rows, all cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.outcomes import matrix

pytestmark = pytest.mark.integration


def test_each_cell_of_each_row_is_true_on_redis_and_prefork(tmp_path: Path) -> None:
    result = matrix.run(tmp_path, matrix.choose(()), *matrix.PREFORK)
    print(f"\n{result.told()}")  # noqa: T201  the table is what this is for
    assert not result.wrong, result.told()
    assert not result.complaints, result.told()
    assert {told.row for told in result.tolds} == set(matrix.TITLES)
