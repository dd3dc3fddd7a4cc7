"""One thread looks for all, each as often as it is to be."""

from __future__ import annotations

import threading

from structlog.testing import capture_logs

from followthrough.agent import looks
from followthrough.agent.looks import Look, Looks


class Turns(threading.Event):
    """A stop that comes after some turns, and a clock that goes on by one look's time in each."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.left, self.now = turns, 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        self.now += timeout or 0.0
        return self.left < 0

    def monotonic(self) -> float:
        return self.now


def test_each_is_looked_for_as_often_as_it_is_to_be(monkeypatch):
    stop = Turns(8)
    monkeypatch.setattr(looks, "time", stop)
    seen: list[tuple[str, float]] = []
    often = Look("often", lambda: seen.append(("often", stop.now)))
    rarely = Look("rarely", lambda: seen.append(("rarely", stop.now)), every=1.0)
    Looks(often, rarely).run(stop)
    assert [at for name, at in seen if name == "often"] == [n * 0.5 for n in range(1, 9)]
    assert [at for name, at in seen if name == "rarely"] == [0.5, 1.5, 2.5, 3.5]


def test_one_that_fails_is_told_and_tried_later_and_keeps_no_other_from_it(monkeypatch):
    stop = Turns(12)
    monkeypatch.setattr(looks, "time", stop)
    tried: list[float] = []
    seen: list[float] = []

    def fail() -> None:
        tried.append(stop.now)
        raise ValueError("broken")

    with capture_logs() as lines:
        Looks(Look("bad", fail), Look("good", lambda: seen.append(stop.now))).run(stop)
    assert tried == [0.5, 5.5]
    assert len(seen) == 12
    assert [(line["event"], line["part"]) for line in lines] == [("agent.part_failed", "bad")] * 2
