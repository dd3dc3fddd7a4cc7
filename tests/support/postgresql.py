"""A PostgreSQL of the tests' own, from the system's package."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest

from app import db
from tests.support import Program, free_port, wait_for

DEADLINE = 30


def programs() -> list[Path]:
    """The directories with a server's programs, the newest version first.

    Debian keeps them out of the PATH; elsewhere they are in it.
    """
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parts[-3]),
        reverse=True,
    )
    found = [*debian, *map(Path, filter(None, [shutil.which("postgres")]))]
    return [path.parent for path in found]


# A machine without PostgreSQL goes without its tests; .ci/run sets EVERY_TEST and may not.
needs_postgresql = pytest.mark.skipif(
    not programs() and not os.environ.get("EVERY_TEST"), reason="no PostgreSQL is installed"
)
# To parametrize with; `new_database` makes one.
DATABASES = ["sqlite", pytest.param("postgresql", marks=needs_postgresql)]


class PostgreSQL:
    """A cluster in `directory`, on a port that stays the same when it is stopped and started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._numbers = count(1)
        self._program: Program | None = None
        self._bin = next(iter(programs()), None)
        assert self._bin, "no PostgreSQL is installed (on Debian: apt install postgresql)"
        self._user = _hand_over(directory)
        self._run("initdb", "-D", "data", "-U", "app", "-A", "trust", "-E", "UTF8", "--no-sync")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://app@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The address of a database with nothing in it."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self) -> None:
        options = ["-p", str(self.port), "-k", str(self.directory), "-c", "fsync=off"]
        argv = [*self._user, str(self._bin / "postgres"), "-D", "data", *options]
        self._program = Program(argv, self.directory / "log", cwd=self.directory)
        wait_for(self._answers, "PostgreSQL answers", DEADLINE)

    def stop(self) -> None:
        """Stop at once; at SIGTERM it would wait until all connections are closed."""
        if self._program:
            self._program.signal(signal.SIGINT)
            self._program.wait(DEADLINE)
            self._program = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The server and its processes take what they are sent, and are silent."""
        server = psutil.Process(self._program.pid)
        processes = [server, *server.children()]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url()).close()
        except psycopg.OperationalError as error:
            assert self._program.popen.poll() is None, self._program.output()
            raise ConnectionError from error
        return True

    def _run(self, program: str, *args: str) -> None:
        argv = [*self._user, str(self._bin / program), *args]
        done = subprocess.run(
            argv, cwd=self.directory, capture_output=True, text=True, check=False, timeout=DEADLINE
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _hand_over(directory: Path) -> list[str]:
    """Give `directory` to whom the server may run as; what to put before its command line."""
    if os.geteuid() != 0:
        return []
    # PostgreSQL refuses to run as root.
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    os.chown(directory, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A running server; who stops it starts it again."""
    # Not in pytest's own directory, which only its user may enter.
    with tempfile.TemporaryDirectory(prefix="pg") as directory:
        server = PostgreSQL(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture
def database_url(new_database: Callable[[str], str]) -> str:
    """The address of an empty PostgreSQL; this process closes its connections at the end."""
    return new_database("postgresql")


@pytest.fixture
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Makes an empty database of a kind, and gives its address."""
    made: list[str] = []

    def new(kind: str) -> str:
        if kind == "sqlite":
            made.append(f"sqlite:///{tmp_path}/{len(made)}.db")
        else:
            made.append(request.getfixturevalue("postgresql").new_database())
        return made[-1]

    yield new
    for url in made:
        db.engine(url).dispose()


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> str:
    """The address of an empty database of each kind."""
    return new_database(request.param)
