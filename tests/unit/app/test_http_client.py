"""The client of other services: bounded in time and size, guarded, and seen in the trace."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from contextlib import ExitStack, contextmanager

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from pytest_httpserver import HTTPServer

from app import settings
from app.services import dial, http_client
from app.services.http_client import Call, RefusedError, UnavailableError
from followthrough.testing import capture
from tests.support import HOME, free_port

CERTIFICATE = HOME / "tests" / "unit" / "followthrough" / "alerts" / "loopback.pem"


@pytest.fixture
def load(tmp_path):
    def load(**environ):
        return settings.load({"APP_ENV": "testing", "STATE_DIR": str(tmp_path), **environ})

    return load


@pytest.fixture
def told(tmp_path):
    with capture(tmp_path) as told:
        yield told


def get(url, loaded, **changes):
    return http_client.send(Call("GET", url, **{"timeout": 5.0, **changes}), loaded)


@contextmanager
def raw_server(*parts, pause=0.0):
    """A server that sends each of `parts`, then drips a byte every `pause` seconds until told."""
    end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                for part in parts:
                    connection.sendall(part)
                for _ in range(100 if pause else 0):
                    if end.wait(pause):
                        return
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            end.set()
            thread.join()


def test_it_gives_what_came_back(httpserver, load):
    httpserver.expect_request("/a", query_string="b=1", headers={"X-C": "2"}).respond_with_data(
        "text", status=202, headers={"Retry-After": "7"}
    )
    answer = get(httpserver.url_for("/a?b=1"), load(), headers={"X-C": "2"})
    assert (answer.status, answer.body, answer.complete) == (202, b"text", True)
    assert answer.retry_after == 7


def test_a_password_in_the_address_is_sent_as_basic_authorization(httpserver, load):
    httpserver.expect_request("/").respond_with_data("")
    get(f"http://user:pass@127.0.0.1:{httpserver.port}/", load())
    [(request, _)] = httpserver.log
    assert request.authorization.password == "pass"


def test_a_redirect_is_not_followed(httpserver, load):
    httpserver.expect_request("/a").respond_with_data(
        "", status=307, headers={"Location": httpserver.url_for("/b")}
    )
    assert get(httpserver.url_for("/a"), load()).status == 307
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(("size", "complete"), [(1024, True), (1025, False), (100_000, False)])
def test_a_long_answer_is_cut(httpserver, load, size, complete):
    httpserver.expect_request("/").respond_with_data(b"x" * size)
    answer = get(httpserver.url_for("/"), load(), limit=1024)
    assert (len(answer.body), answer.complete) == (1024, complete)


def test_a_status_is_enough_where_nothing_else_is_asked_for(load):
    """A receiver that never ends its answer has still taken the message."""
    with raw_server(b"HTTP/1.1 200 OK\r\n\r\n", pause=10) as url:
        answer = get(url, load(), limit=0)
    assert (answer.status, answer.body) == (200, b"")


def test_a_small_answer_that_unpacks_to_a_huge_one_is_cut(httpserver, load):
    packed = gzip.compress(bytes(50_000_000))
    httpserver.expect_request("/").respond_with_data(packed, headers={"Content-Encoding": "gzip"})
    tracemalloc.start()
    assert not get(httpserver.url_for("/"), load()).complete
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_an_endless_answer_ends_at_the_limit(load):
    with raw_server(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 80_000, pause=10) as url:
        start = time.monotonic()
        assert not get(url, load()).complete
        assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"HTTP/1.1 200 OK\r\nX-Slow: "],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\n"],
    ],
    ids=["silent", "headers", "body", "body without a length"],
)
def test_a_server_that_drips_is_left_at_the_deadline(load, parts):
    """Each byte comes well within any time-out of one read."""
    with raw_server(*parts, pause=0.03) as url:
        start = time.monotonic()
        with pytest.raises(UnavailableError, match=r"^no answer within 0\.15 s$"):
            get(url, load(), timeout=0.15)
        assert time.monotonic() - start < 1


def test_a_slow_name_server_is_left_at_the_deadline(load, monkeypatch):
    asked = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: asked.wait(5))
    with pytest.raises(UnavailableError, match="no answer within"):
        get("http://example.com/", load(), timeout=0.05)
    asked.set()


def test_a_server_that_is_down_is_told(load):
    with pytest.raises(UnavailableError, match="ConnectionRefusedError"):
        get(f"http://127.0.0.1:{free_port()}/secret", load())


def test_a_broken_answer_is_told_without_the_address(load):
    with raw_server(b"nonsense\r\n\r\n") as url, pytest.raises(UnavailableError) as raised:
        get(url + "?token=secret", load())
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]"]
)
def test_a_private_address_is_never_connected_to(httpserver, load, host):
    """However it is spelled, and whatever the name means."""
    httpserver.expect_request("/").respond_with_data("")
    with pytest.raises(RefusedError, match="OUTGOING_ALLOWED"):
        get(f"http://{host}:{httpserver.port}/", load(OUTGOING_ALLOWED="10.0.0.0/8"))
    assert httpserver.log == []


def test_the_address_that_was_checked_is_the_one_that_is_called(load, monkeypatch):
    """A name server that answers another address the second time gains nothing."""
    asked = []
    public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80))]
    connected = []

    def answer(host, port, **_):
        asked.append(host)
        return public

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(dial.Line, "_first", lambda _, found: connected.append(found) or stop())
    with pytest.raises(UnavailableError):
        get("http://rebinding.example/", load(OUTGOING_ALLOWED="10.0.0.0/8"))
    assert (asked, connected) == (["rebinding.example"], [public])


def stop():
    raise ConnectionRefusedError


def test_of_several_addresses_only_permitted_ones_are_called(httpserver, load, monkeypatch):
    def both(_host, port, **_):
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("169.254.169.254", port)), (*kind, ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    httpserver.expect_request("/").respond_with_data("")
    assert get(f"http://both.example:{httpserver.port}/", load()).status == 200


def test_an_address_that_never_answers_leaves_time_for_the_next(httpserver, load, monkeypatch):
    """Such as an IPv6 one where there is no IPv6."""
    httpserver.expect_request("/").respond_with_data("")
    with full_server() as port:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*kind, ("127.0.0.1", each)) for each in (port, httpserver.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert get("http://both.example/", load(), timeout=0.6).status == 200


@contextmanager
def full_server():
    """A port whose queue of connections is full, so that another gets no answer."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def test_no_proxy_is_taken_from_the_environment(httpserver, load, monkeypatch):
    """It would look up the name itself, past the guard."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    httpserver.expect_request("/").respond_with_data("")
    assert get(httpserver.url_for("/"), load()).status == 200


@pytest.mark.parametrize("url", ["ftp://example.com/", "http://", "http://" + "a" * 70 + ".com/"])
def test_what_can_not_be_called_is_refused(load, url):
    with pytest.raises(RefusedError):
        get(url, load())


@pytest.fixture(scope="module")
def https():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with HTTPServer("localhost", free_port(), ssl_context=context) as server:
        server.expect_request("/").respond_with_data("safe")
        yield f"https://localhost:{server.port}/"


def test_a_certificate_is_checked_against_the_name(https, load, monkeypatch):
    """The connection goes to an address, the name in the certificate still counts."""
    trusting = load(OUTGOING_CA_FILE=str(CERTIFICATE))
    assert get(https, trusting).body == b"safe"
    found = socket.getaddrinfo("127.0.0.1", int(https.rstrip("/").rpartition(":")[2]))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UnavailableError, match="SSLCertVerification"):
        get(https.replace("localhost", "other.example"), trusting)


def test_an_unknown_certificate_is_not_trusted(https, load):
    with pytest.raises(UnavailableError, match="SSL"):
        get(https, load())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("9" * 5000, 999_999_999),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 10),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0),
        ("-1", None),
        ("soon", None),
        ("Sun, 06 Nov 99999999 08:49:37 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header, seconds):
    assert http_client.seconds(header, 784111767.0) == seconds


def test_a_call_is_a_client_span(httpserver, load, told):
    """Named and described by the conventions, without what may be secret."""
    httpserver.expect_request("/a").respond_with_data("", status=503)
    url = f"http://user:pass@127.0.0.1:{httpserver.port}/a?token=1"
    get(url, load(), attempt=2)
    span = told.span("GET")
    assert span.kind is SpanKind.CLIENT
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": httpserver.port,
        "url.full": f"http://127.0.0.1:{httpserver.port}/a",
        "http.request.resend_count": 2,
        "http.response.status_code": 503,
        "network.peer.address": "127.0.0.1",
        "error.type": "503",
    }
    assert span.status.status_code is StatusCode.ERROR
    [(request, _)] = httpserver.log
    assert request.headers["traceparent"].split("-")[2] == f"{span.context.span_id:016x}"


def test_a_call_without_an_answer_is_a_failed_span(load, told):
    with pytest.raises(UnavailableError):
        get(f"http://127.0.0.1:{free_port()}/", load())
    span = told.span("GET")
    assert span.attributes["error.type"] == "UnavailableError"
    assert span.status.status_code is StatusCode.ERROR
