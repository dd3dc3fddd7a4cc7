"""On other pools and brokers each end is told once too; what differs is in docs/pools.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.outcomes import matrix, pools
from tests.support import redis_server
from tests.support.rabbitmq import needs_rabbitmq, rabbitmq_server

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("pool", pools.OPTIONS)
def test_on_this_pool_each_end_is_told_once_and_the_same_way(tmp_path: Path, pool: str) -> None:
    _is_true(matrix.run(tmp_path, pools.of(pool), *pools.OPTIONS[pool]))


@needs_rabbitmq
def test_on_rabbitmq_each_end_is_told_once_and_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    with rabbitmq_server() as broker, redis_server(tmp_path / "results") as (_, backend):
        result = matrix.run(
            tmp_path, pools.RABBITMQ, *matrix.PREFORK, broker=broker, KIT_BACKEND=backend
        )
    _is_true(result)


def _is_true(result: matrix.Result) -> None:
    print(f"\n{result.told()}")  # noqa: T201  the table is what this is for
    assert not result.wrong, result.told()
    assert not result.complaints, result.told()
