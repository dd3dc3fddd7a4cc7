"""`python -m app`, as a user types it: the real services, on ports of their own."""

import contextlib
import os
import pty
import select
import signal
import socket
import sys
import threading
import time

import psutil
import pytest

from tests.support import HOME, POLL, answers, program_env, wait_for
from tests.support.service import Service

pytestmark = pytest.mark.integration

NAMES = ["redis", "mail", "agent", "web", "worker", "beat"]


@pytest.fixture
def service(tmp_path):
    """A service that is down at the end, and has left no process."""
    made = Service(tmp_path / "state")
    yield made
    command(made, "down")
    assert processes(made) == []


def command(service, *args):
    """Run a command to its end: its exit code and output."""
    earlier = service.state / f"{args[0]}.out"
    earlier.unlink(missing_ok=True)
    program = service.manage(*args)
    return program.wait(40), program.output()


def processes(service):
    """Every process of this service, by the state directory in its environment."""
    mine = f"STATE_DIR={service.state}"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if mine in [f"{k}={v}" for k, v in process.environ().items()]:
                found.append(process)
    return found


def pid(service, name):
    return int((service.state / "run" / f"{name}.pid").read_text().splitlines()[0])


def states(service):
    code, output = command(service, "status")
    words = [line.split() for line in output.splitlines()]
    return code, {row[0]: row[1] for row in words if row and row[0] in NAMES}


class Terminal:
    """A terminal of 80 columns in which a program runs in the foreground."""

    def __init__(self, argv, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(HOME)
            os.execve(argv[0], argv, env)  # noqa: S606
        self.text = ""

    def read(self):
        """All that has been written so far; the end of the terminal is no error."""
        with contextlib.suppress(OSError):
            while select.select([self.fd], [], [], POLL)[0]:
                data = os.read(self.fd, 65536)
                if not data:
                    break
                self.text += data.decode(errors="replace")
        return self.text

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def wait(self, deadline):
        """Read until the program ends; its exit code."""

        def ended():
            self.read()
            done, status = os.waitpid(self.pid, os.WNOHANG)
            return [os.waitstatus_to_exitcode(status)] if done else None

        return wait_for(ended, "the program ends", deadline)[0]


@pytest.fixture
def terminal():
    opened = []

    def start(*args, **env):
        argv = [sys.executable, "-m", "app", *args]
        opened.append(Terminal(argv, {**program_env(env), "TERM": "xterm"}))
        return opened[-1]

    yield start
    for each in opened:
        os.close(each.fd)


def test_up_in_a_terminal_runs_everything_until_ctrl_c(service, terminal):
    """One coloured log, a table when all is ready; Ctrl-C stops all, in order, within 10 s."""
    screen = terminal("up", **service.env)
    wait_for(lambda: "curl -i" in screen.read(), "the table", 30)
    for port in service.ports.values():
        assert f":{port}" in screen.text
    assert service.send_email().status == 202
    wait_for(service.mails, "the mail is kept")
    [mail] = service.mails()
    assert mail["Subject"] == "Hello"
    wait_for(lambda: "task.succeeded" in screen.read(), "the task's line")
    [line] = [line for line in screen.text.splitlines() if "task.succeeded" in line]
    assert line.startswith("\033[")
    assert "worker  |" in line
    began = time.monotonic()
    screen.type("\x03")
    assert screen.wait(15) == 0
    assert time.monotonic() - began < 10
    assert "all is stopped" in screen.text
    assert "Traceback" not in screen.text
    assert processes(service) == []


def test_in_the_background_it_is_started_asked_restarted_and_stopped(service):
    code, output = command(service, "up", "-d")
    assert code == 0, output
    assert "curl -i" in output
    assert states(service) == (0, dict.fromkeys(NAMES, "running"))

    code, output = command(service, "up", "-d")
    assert code == 2
    assert "already running" in output
    assert f"port {service.ports['redis']} on 127.0.0.1 is taken: redis needs it" in output
    assert f"CELERY_BROKER_URL=redis://127.0.0.1:{service.ports['redis']}/0" in output

    before = {name: pid(service, name) for name in NAMES}
    code, output = command(service, "restart", "worker")
    assert (code, output) == (0, "restarted worker\n")
    after = {name: pid(service, name) for name in NAMES}
    assert {name for name in NAMES if before[name] != after[name]} == {"worker"}
    assert "Warm shutdown" in (service.state / "log" / "worker.log").read_text()

    os.kill(after["mail"], signal.SIGKILL)
    wait_for(lambda: pid(service, "mail") not in (0, after["mail"]), "mail is started again")
    wait_for(lambda: states(service)[0] == 0, "all run")
    said = (service.state / "log" / "manager.log").read_text()
    assert "mail ended unexpectedly (signal SIGKILL); restart 1 of at most 5 in 1 s" in said

    code, output = command(service, "down")
    assert code == 0
    assert output == "stopped agent, beat, mail, redis, web, worker\n"
    assert processes(service) == []
    assert command(service, "down") == (0, "not running\n")
    assert states(service) == (3, dict.fromkeys(NAMES, "stopped"))


def test_an_occupied_port_starts_nothing(service):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", service.ports["web"]))
        taken.listen()
        code, output = command(service, "up")
    assert code == 2
    assert output == (
        f"port {service.ports['web']} on 127.0.0.1 is taken: web needs it for the API; "
        "set PORT to move it\n"
    )
    assert processes(service) == []
    assert not any(answers(port) for port in service.ports.values())


def test_what_cannot_start_is_told_with_its_last_lines_and_leaves_nothing(service):
    service.env["DATABASE_URL"] = f"sqlite:///{service.state}/no/such/folder/app.db"
    code, output = command(service, "up", "-d")
    assert code == 1
    assert "web | " in output
    assert "unable to open database file" in output
    assert output.endswith("everything is stopped again\n")
    assert processes(service) == []


def test_a_manager_that_was_killed_leaves_services_that_work_and_can_be_stopped(service):
    assert command(service, "up", "-d")[0] == 0
    os.kill(pid(service, "manager"), signal.SIGKILL)
    code, output = command(service, "status")
    assert code == 3
    assert "their manager was killed" in output
    assert service.send_email().status == 202
    wait_for(service.mails, "the mail is kept")
    code, output = command(service, "down")
    assert code == 0
    assert output.endswith("stopped agent, beat, mail, redis, web, worker\n")
    assert processes(service) == []


@contextlib.contextmanager
def silent_server():
    """Takes connections and never says a word; yields its port and the connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], taken
        listener.shutdown(socket.SHUT_RDWR)
        for connection in taken:
            connection.close()


def test_a_task_that_runs_when_all_is_stopped_is_done_after_the_next_start(service):
    """Asked to end, a worker waits some seconds for its task, then gives it back to the queue."""
    with silent_server() as (port, connections):
        service.env["SMTP_URL"] = f"smtp://127.0.0.1:{port}"
        assert command(service, "up", "-d")[0] == 0
        answer = service.send_email(subject="Not lost")
        assert answer.status == 202
        wait_for(lambda: connections, "the task runs")
        began = time.monotonic()
        code, output = command(service, "down")
        assert (code, time.monotonic() - began < 10) == (0, True), output
        assert processes(service) == []
    del service.env["SMTP_URL"]
    assert command(service, "up", "-d")[0] == 0
    assert service.ended(answer.body["task_id"])["state"] == "SUCCESS"
    assert [mail["Subject"] for mail in service.mails()] == ["Not lost"]


@pytest.mark.parametrize("name", ["up", "down", "restart", "status", "settings"])
def test_every_command_refuses_wrong_settings_all_at_once(tmp_path, name):
    broken = Service(tmp_path, {"PORT": "many", "APP_ENV": "staging"})
    code, output = command(broken, name)
    assert code == 2
    assert len(output.splitlines()) == 2
    assert "PORT: 'many' is not a whole number" in output
    assert "APP_ENV: 'staging' is none of" in output


def test_settings_shows_values_sources_and_no_secrets(tmp_path):
    shown = Service(tmp_path, {"SECRET_KEY": "never-shown", "SMTP_URL": "smtp://me:hush@mail"})
    code, output = command(shown, "settings")
    assert code == 0
    assert "never-shown" not in output
    assert "hush" not in output
    port = next(line for line in output.splitlines() if line.startswith("PORT "))
    assert port.split()[1:4] == [str(shown.ports["web"]), "environment", "(PORT)"]
    assert port.endswith("Port of the API.")
