"""Free and taken ports, and servers that answer sooner or later."""

import socket

import pytest

from app.manage import ports
from app.manage.services import Port, Question, Service, reachable
from tests.support import free_port, wait_for


def needing(port, advice="", host="127.0.0.1"):
    return Service("web", (), ports=(Port(host, port, "PORT", "the API", advice),))


@pytest.fixture
def listener():
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def test_a_free_port_is_no_problem():
    assert ports.problems([needing(free_port())]) == []


def test_a_taken_port_names_who_asks_and_what_moves_it(listener):
    port = listener.getsockname()[1]
    assert ports.problems([needing(port, ", or X=1")]) == [
        f"port {port} on 127.0.0.1 is taken: web needs it for the API; set PORT to move it, or X=1"
    ]


def test_every_taken_port_is_told_at_once(listener):
    service = needing(listener.getsockname()[1])
    assert len(ports.problems([service, service])) == 2


def test_a_listener_on_all_addresses_takes_the_port():
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))  # noqa: S104
        sock.listen()
        [problem] = ports.problems([needing(sock.getsockname()[1])])
    assert "is taken" in problem


def test_a_port_of_a_connection_that_just_ended_is_free(listener):
    """A restart at once must not fail for connections in TIME_WAIT."""
    port = listener.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    server, _ = listener.accept()
    server.close()
    client.close()
    listener.close()
    assert ports.problems([needing(port)]) == []


def test_an_address_of_another_machine_is_a_problem_of_its_own():
    [problem] = ports.problems([needing(free_port(), host="192.0.2.1")])
    assert "can't be had" in problem


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("", "127.0.0.1"), ("10.0.0.1", "10.0.0.1")],  # noqa: S104
)
def test_all_addresses_are_reached_by_loopback(host, reached):
    assert reachable(host) == reached


def probe(port):
    return ports.Probe(Question("127.0.0.1", port, b"PING\r\n", b"+PONG"))


def test_a_probe_is_not_answered_by_a_closed_port():
    assert not probe(free_port()).answered()


def test_a_probe_waits_on_one_connection_for_a_slow_answer(listener):
    """A server that listens before it answers is not flooded with connections."""
    asked = probe(listener.getsockname()[1])
    assert not asked.answered()
    server, _ = listener.accept()
    with server:
        assert not asked.answered()
        assert server.recv(100) == b"PING\r\n"
        server.sendall(b"+PONG\r\n")
        wait_for(asked.answered, "the answer arrives")


def test_a_probe_asks_again_after_another_answer(listener):
    asked = probe(listener.getsockname()[1])
    for answer, expected in ((b"-LOADING\r\n", False), (b"+PONG\r\n", True)):
        assert not asked.answered()
        server, _ = listener.accept()
        with server:
            server.sendall(answer)
            assert asked.answered() is expected
    asked.close()
