"""A RabbitMQ of the tests' own, from the system's package."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
from kombu.exceptions import OperationalError

from tests.support import Program, answers, free_port, running, wait_for

DEADLINE = 60


def program() -> Path | None:
    """The server itself: what is in the PATH changes the user and shares a home."""
    debian = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    found = str(debian) if debian.exists() else shutil.which("rabbitmq-server")
    return Path(found) if found else None


# A machine without RabbitMQ goes without its tests; .ci/run sets EVERY_TEST and may not.
needs_rabbitmq = pytest.mark.skipif(
    not program() and not os.environ.get("EVERY_TEST"), reason="no RabbitMQ is installed"
)


@contextlib.contextmanager
def rabbitmq_server() -> Iterator[str]:
    """A server with ports, a name and directories of its own; yields its URL."""
    server = program()
    assert server, "no RabbitMQ is installed (on Debian: apt install rabbitmq-server)"
    with tempfile.TemporaryDirectory(prefix="mq") as directory, _names(Path(directory)) as env:
        started = Program([str(server)], Path(directory, "log"), env)
        url = f"amqp://guest:guest@127.0.0.1:{env['RABBITMQ_NODE_PORT']}//"
        try:
            wait_for(lambda: _takes(url, started), "RabbitMQ answers", DEADLINE)
            yield url
        finally:
            # The script waits for the server, which nobody needs to end well.
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


@contextlib.contextmanager
def _names(directory: Path) -> Iterator[dict[str, str]]:
    """The register of names that Erlang's nodes need, and a node's environment."""
    port = free_port()
    # RabbitMQ would start one that stays when it ends.
    argv = ["epmd", "-port", str(port), "-address", "127.0.0.1"]
    with running(argv, directory / "epmd.log"):
        wait_for(lambda: answers(port), "epmd answers")
        (directory / "plugins").write_text("[].\n")
        yield _environment(directory, port)


def _environment(directory: Path, names: int) -> dict[str, str]:
    port = free_port()
    config = directory / "rabbit.conf"
    config.write_text(f"listeners.tcp.local = 127.0.0.1:{port}\n")
    return {
        "HOME": str(directory),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # A scheduler for each core would spin on a machine that is shared.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}"
        ),
        "RABBITMQ_NODENAME": f"followthrough{port}@localhost",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "logs"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
    }


def _takes(url: str, server: Program) -> bool:
    assert server.popen.poll() is None, server.output()
    try:
        with kombu.Connection(url, connect_timeout=1) as connection:
            connection.connect()
    except (OperationalError, OSError) as error:
        raise ConnectionError from error
    return True
