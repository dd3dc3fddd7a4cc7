"""Starts the services in order, watches them, and stops them in order; the caller has the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from app.manage.processes import Process
from app.manage.services import Service
from app.manage.unit import (
    BACKOFF,
    DONE,
    FAILED,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    WAITING,
    Place,
    Unit,
)

PATIENCE = 30.0  # seconds a service may take to be ready
RESTARTS = 5  # of one service, until it is given up
CALM = 60.0  # seconds of running after which a service's restarts are forgiven


class Supervisor:
    """All services; `tick(now)` does what is due, with seconds of one monotonic clock."""

    def __init__(
        self, services: Iterable[Service], place: Place, say: Callable[[str], None]
    ) -> None:
        self.units = {service.name: Unit(service, place) for service in services}
        self.say = say
        self.failed: Unit | None = None
        self.ending = False
        self.hurried = False
        self.was_ready = False

    def start(self) -> None:
        for unit in self.units.values():
            unit.enter(WAITING)

    def tick(self, now: float) -> None:
        for unit in self.units.values():
            if process := unit.reap():
                self._ended(unit, process, now)
        self._go_down(now)
        for unit in self.units.values():
            self._go_up(unit, now)
        self.was_ready = self.was_ready or self.ready

    @property
    def ready(self) -> bool:
        """Whether every service runs."""
        return all(unit.state in (RUNNING, DONE) for unit in self.units.values())

    @property
    def gone(self) -> bool:
        """Whether no process is left."""
        return self.ending and all(unit.state == STOPPED for unit in self.units.values())

    @property
    def busy(self) -> bool:
        """Whether something is about to happen that no signal will tell."""
        return any(unit.state not in (RUNNING, DONE, FAILED) for unit in self.units.values())

    def stop(self) -> None:
        """Stop everything, in order; `gone` tells when that is done."""
        self.ending = True
        for unit in self.units.values():
            self._leave(unit, STOPPED)

    def restart(self, names: Iterable[str]) -> None:
        """Stop these services in order and start them again."""
        for name in names:
            if name in self.units and not self.ending:
                self.units[name].restarts = 0
                self._leave(self.units[name], WAITING)

    def hurry(self) -> None:
        """Be less patient with what is being stopped, and with all that follows."""
        self.hurried = True

    def _leave(self, unit: Unit, after: str) -> None:
        if unit.state == STOPPING:
            unit.after = after
        elif unit.process is None:
            unit.enter(after)
        else:
            unit.leave(after)

    def _go_down(self, now: float) -> None:
        leaving = [unit for unit in self.units.values() if unit.state == STOPPING]
        lowest = min((unit.service.stage for unit in leaving), default=0)
        for unit in leaving:
            unit.asked = now if unit.asked is None else unit.asked
            if unit.service.stage == lowest:
                unit.descend(now, hurry=self.hurried)

    def _go_up(self, unit: Unit, now: float) -> None:
        if unit.state == WAITING and self._may_start(unit):
            self._start(unit, now)
        elif unit.state == BACKOFF and now >= unit.due:
            unit.enter(WAITING)
        elif unit.state == STARTING and unit.ready():
            unit.enter(RUNNING)
        elif unit.state == STARTING and now > unit.began + PATIENCE:
            self._give_up(unit, f"{unit.name} is not ready after {PATIENCE:.0f} s")

    def _may_start(self, unit: Unit) -> bool:
        needs = (self.units[name].state for name in unit.service.needs)
        return all(state in (RUNNING, DONE) for state in needs)

    def _start(self, unit: Unit, now: float) -> None:
        try:
            unit.start(now)
        except OSError as error:
            self._give_up(unit, f"{unit.name} can't be started: {error}")

    def _ended(self, unit: Unit, process: Process, now: float) -> None:
        if unit.state == STOPPING:
            self.say(f"{unit.name} stopped ({process.ending()})")
            unit.enter(unit.after)
        elif unit.service.once and process.ending() == "exit code 0":
            unit.enter(DONE)
        else:
            self._died(unit, process.ending(), now)

    def _died(self, unit: Unit, ending: str, now: float) -> None:
        if unit.state == RUNNING and now - unit.began > CALM:
            unit.restarts = 0
        if not self.was_ready:
            self._give_up(unit, f"{unit.name} ended while starting ({ending})")
        elif unit.restarts >= RESTARTS:
            self._give_up(unit, f"{unit.name} ended ({ending}) after {RESTARTS} restarts; given up")
        else:
            self._back_off(unit, ending, now)

    def _back_off(self, unit: Unit, ending: str, now: float) -> None:
        wait = 2**unit.restarts
        unit.restarts += 1
        unit.due = now + wait
        count = f"restart {unit.restarts} of at most {RESTARTS}"
        self.say(f"{unit.name} ended unexpectedly ({ending}); {count} in {wait} s")
        unit.enter(BACKOFF)

    def _give_up(self, unit: Unit, reason: str) -> None:
        self.say(reason)
        unit.reason = reason
        self._leave(unit, FAILED)
        if not self.was_ready:
            self.failed = self.failed or unit
