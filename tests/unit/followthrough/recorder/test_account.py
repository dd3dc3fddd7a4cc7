"""The account of all rings, as people and Prometheus read it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from followthrough import cli
from followthrough.metrics.exposition import expose
from followthrough.recorder import account, ring
from followthrough.recorder.writer import Writer


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Two rings: five spans of which two were sent and one refused, and one of a full ring."""
    rings = tmp_path / "rings"
    rings.mkdir()
    (rings / "9.spans").write_bytes(b"broken")
    for number, spans in enumerate((5, 3)):
        writer = Writer(rings / f"{number}.spans", 1 << 12)
        for _ in range(spans):
            writer.put(b"x" * 8 if number == 0 else b"x" * 2000)
    fd = os.open(rings / "0.spans", os.O_RDWR)
    batch = ring.read(fd, 60)
    assert len(batch.payloads) == 3
    ring.settle(fd, batch, exported=2, rejected=1)
    os.close(fd)
    return tmp_path


def test_each_span_is_counted_once(state: Path) -> None:
    totals = account.totals(state)
    assert (totals.produced, totals.exported, totals.held, totals.rings) == (8, 2, 2, 2)
    reasons = {reason: number for reason, number in totals.dropped.items() if number}
    assert reasons == {"rejected": 1, "large": 3}
    assert totals.produced == totals.exported + totals.held + sum(totals.dropped.values())


def test_prometheus_reads_it(state: Path) -> None:
    text = expose(state).decode()
    assert "telemetry_spans_produced_total 8.0" in text
    assert "telemetry_spans_exported_total 2.0" in text
    assert "telemetry_spans_held 2.0" in text
    assert 'telemetry_spans_dropped_total{reason="large"} 3.0' in text
    assert 'telemetry_spans_dropped_total{reason="torn"} 0.0' in text


def test_people_read_it(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLLOWTHROUGH_STATE_DIR", str(state))
    assert cli.main(["telemetry", "status"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines[0] == ["spans", "logs", "events"]
    rows = {name: number for name, number, *_ in lines[1:]}
    assert rows == {
        "produced": "8",
        "exported": "2",
        "dropped": "4",
        "large": "3",
        "rejected": "1",
        "held": "2",
    }


def test_where_nothing_was_recorded_all_is_zero(tmp_path: Path) -> None:
    assert account.totals(tmp_path) == account.Totals()
