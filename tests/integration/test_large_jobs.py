"""The largest jobs stay within their memory and time, as `make bench` measures them."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support import HOME, program_env, python

pytestmark = pytest.mark.integration

MEMORY = r"peak memory +(\d+) MiB, (\d+) MiB before"


def measured(module, pattern):
    """The numbers that a bench's output has at this pattern."""
    done = subprocess.run(
        python("-m", f"bench.{module}"),
        cwd=HOME,
        env=program_env({}),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(pattern, done.stdout, re.DOTALL)
    assert found, done.stdout
    return [float(each.replace(",", "")) for each in found.groups()]


def test_a_million_rows_are_imported_in_less_than_200_mib():
    rows, peak, _ = measured("imports", rf"imported +([\d,]+) rows.*{MEMORY}")
    assert rows == 1_000_000
    assert peak < 200


def test_ten_thousand_mails_are_queued_in_15_seconds_and_flat_memory():
    # Its own time: other tests, which run beside it, may have the processors meanwhile.
    mails, seconds, peak, before = measured(
        "bulkmail", rf"mail to many +([\d,]+) mails queued in .* s, ([\d.]+) s of CPU.*{MEMORY}"
    )
    assert mails == 10_000
    assert seconds < 15
    assert peak - before < 10
