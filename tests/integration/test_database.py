"""One database for several processes."""

from __future__ import annotations

import subprocess

import pytest
from sqlalchemy import text

from app import db
from tests.support import HOME, program_env, python

pytestmark = pytest.mark.integration

MIGRATE_AND_WRITE = """
import sys
from datetime import UTC, datetime
from app import create_app, db, registry
app = create_app()
with app.app_context():
    for number in range(25):
        registry.remember([f"{sys.argv[1]}-{number}"], "test", "root")
"""


def test_processes_that_start_at_once_share_one_database(tmp_path):
    """Six processes migrate an empty database and write to it at the same time; none fails."""
    env = program_env({"STATE_DIR": str(tmp_path / "state"), "OTEL_SDK_DISABLED": "1"})
    started = [
        subprocess.Popen(
            python("-c", MIGRATE_AND_WRITE, str(number)),
            env=env,
            cwd=HOME,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for number in range(6)
    ]
    ends = [(each.communicate(timeout=60)[1], each.returncode) for each in started]
    assert [code for _, code in ends] == [0] * 6, ends
    engine = db.engine(f"sqlite:///{tmp_path}/state/app.db")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM tasks")).scalar() == 150
