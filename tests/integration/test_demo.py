"""`python -m app demo`, against the whole service and against none."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support import wait_for
from tests.support.service import Service, running_service

pytestmark = pytest.mark.integration


def test_all_goes_as_expected_and_nothing_but_lines_is_written(tmp_path):
    """Most of the time is the 30 s after which the payment whose answer got lost is tried again."""
    with running_service(tmp_path / "state") as (service, _):
        demo = service.manage("demo")
        code = demo.wait(80)
        output = demo.output()
        assert code == 0, output
        assert "45 of 45 went as expected" in output
        assert service.url("console", "/trace/") in output
        assert service.url("web", "/docs") in output
        assert all(line.isprintable() for line in output.splitlines())
        trace = output.partition(service.url("console", "/trace/"))[2].split()[0]
        assert service.spans(trace, 3)
        _, _, places = output.partition("\nLook at:\n")
        _, _, report = places.partition("\n  report  ")
        assert Path(report.split()[0]).read_bytes().startswith(b"%PDF")


def test_ctrl_c_ends_it_in_a_line(tmp_path):
    with running_service(tmp_path / "state") as (service, _):
        demo = service.manage("demo")
        wait_for(lambda: "payment, declined" in demo.output(), "it has got going")
        demo.signal(signal.SIGINT)
        assert demo.wait(5) == 130
        assert demo.output().endswith("stopped; what was sent goes on in the service\n")
        assert "Traceback" not in demo.output()


def test_without_a_service_one_line_says_what_to_do(tmp_path):
    service = Service(tmp_path / "state")
    demo = service.manage("demo")
    assert demo.wait(10) == 2
    [line] = demo.output().splitlines()
    assert line == f"no service answers at {service.url('web', '')}; start one with: make run"
