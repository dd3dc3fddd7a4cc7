"""Starts the agent of a state directory where nobody else did."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

from .. import slots
from ..settings import Settings, environment

EVERY = 0.5  # seconds between two looks for an agent
LONGEST = 60.0  # between two looks where agents don't live
TO_START = 1.5  # seconds that an agent may take before another process starts one too
# The shell starts it and ends, so that it is nobody's child here and leaves no zombie.
IN_BACKGROUND = ("/bin/sh", "-c", '"$@" &', "followthrough")
# Settings that name a file, perhaps from the program's own folder.
FILES = [
    f"OTEL_EXPORTER_OTLP_{signal}{name}"
    for signal in ("", "TRACES_", "LOGS_")
    for name in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
]

logger = logging.getLogger(__name__)


class Launcher:
    """Looks for the agent now and then, and starts one where its lock is free.

    Several processes may do so at once: the lock lets one agent live, and the others end at once.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state_dir = settings.state_dir
        self._next = 0.0
        self._pause = EVERY

    def look(self) -> None:
        """Start an agent if there is none; costs nothing most of the time."""
        now = time.monotonic()
        if now < self._next:
            return
        # By chance, so that not all processes of the host start one at the same moment.
        self._next = now + self._pause * random.uniform(0.5, 1.0)  # noqa: S311  no secret
        try:
            self._start_if_free()
        except OSError as error:
            self._next = now + LONGEST
            logger.warning("no agent can be started: %s", error)
        except BaseException:
            # Out of a signal's handler: whether it was started is not known.
            self._next = now
            raise

    def _start_if_free(self) -> None:
        if slots.is_held(self._state_dir / "agent.lock"):
            self._pause = EVERY
            return
        begun, ready = (_time(self._state_dir / f"agent.{what}") for what in ("starting", "ready"))
        if ready >= begun:
            # The last one was at work and was killed.
            self._pause = EVERY
        elif 0 <= time.time() - begun < TO_START:
            return
        else:
            # One that ends as soon as it begins would end again.
            self._pause = min(LONGEST, self._pause * 2)
        starting = self._state_dir / "agent.starting"
        starting.touch()
        try:
            self._start()
        except BaseException:
            # Nobody needs to wait for it; two that were started are one soon.
            starting.unlink(missing_ok=True)
            raise

    def _start(self) -> None:
        with (self._state_dir / "agent.log").open("ab") as output:
            shell = _Shell(
                [*IN_BACKGROUND, *command(), "agent", "--until-idle"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A signal to the program's group, as Ctrl-C sends it, is not for the agent.
                start_new_session=True,
                # The program's own folder may be removed or unmounted while the agent runs.
                cwd="/",
                env=variables(self._settings, os.environ),
            )
            with shell:
                pass


class _Shell(subprocess.Popen[bytes]):
    # Nothing, in C: what a signal's handler raises within a `__del__` of Python's is lost.
    __del__ = dict  # type: ignore[assignment]


def _time(path: Path) -> float:
    """When a file was last touched; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def command() -> list[str]:
    """How the kit's command is run by this Python; raises OSError where there is no Python to run.

    Servers that embed Python give their own program as the executable.
    """
    name = Path(sys.executable or "").name
    is_python = name.startswith(("python", "pypy"))
    python = sys.executable if is_python else str(Path(sys.prefix) / "bin" / "python3")
    if not Path(python).is_file():
        raise FileNotFoundError(f"no Python at {python}")
    return [python, "-P", "-m", f"{__package__.partition('.')[0]}.cli"]


def variables(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment: this process's, and the settings that it was given in code."""
    path = [_whole(each) for each in environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    home = str(Path(__file__).parents[2])
    # Where the package is installed it is found anyway.
    if home not in (*path, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        path.append(home)
    files = {name: _whole(file) for name, file in environ.items() if name in FILES and file}
    own = environment(settings, environ) | {"FOLLOWTHROUGH_STATE_DIR": str(settings.state_dir)}
    return {**environ, **files, **own, "PYTHONPATH": os.pathsep.join(path)}


def _whole(path: str) -> str:
    return str(Path(path).absolute())
