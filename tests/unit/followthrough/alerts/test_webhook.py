from __future__ import annotations

import base64
import email.utils
import json
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from followthrough.alerts.notifiers import Refused, Retry, webhook
from followthrough.settings import Settings, SettingsError, load
from tests.support import free_port, wait_for

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"k" * 32).decode()
# A certificate for localhost and its key, good for nothing but these tests.
CERTIFICATE = Path(__file__).parent / "loopback.pem"


def make(url, secret=None, timeout=5.0):
    keys = webhook.parse_secret(secret or "")
    return webhook.WebhookNotifier(webhook.parse_url(url), keys, timeout=timeout)


def test_it_posts_the_alert_in_the_standard_envelope(httpserver, make_alert):
    alert = make_alert(message="Geld fehlt: 3 \u20ac")
    httpserver.expect_request("/hook", query_string="key=1").respond_with_data("")
    make(httpserver.url_for("/hook?key=1")).notify(alert)
    [(request, _)] = httpserver.log
    body = json.loads(request.data)
    assert (body["type"], body["timestamp"]) == ("task.failure", "2026-11-18T11:06:40.500000+00:00")
    assert body["data"]["message"] == "Geld fehlt: 3 \u20ac"
    assert body["data"]["task_id"] == alert.task_id
    assert request.method == "POST"
    assert request.content_type == "application/json"
    assert request.headers["webhook-id"] == alert.id
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 5
    assert "webhook-signature" not in request.headers


def test_the_signature_is_that_of_the_standards_own_example():
    [key] = webhook.parse_secret(SECRET)
    signature = webhook.sign(
        key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_secret_of_a_rotation_signs_what_was_sent(httpserver, make_alert):
    httpserver.expect_request("/").respond_with_data("")
    make(httpserver.url_for("/"), f"{SECRET} {OTHER}").notify(make_alert())
    [(request, _)] = httpserver.log
    when = int(request.headers["webhook-timestamp"])
    assert request.headers["webhook-signature"].split() == [
        webhook.sign(key, request.headers["webhook-id"], when, request.data)
        for key in webhook.parse_secret(f"{SECRET} {OTHER}")
    ]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_delivery(httpserver, make_alert, status):
    httpserver.expect_request("/").respond_with_data("", status=status)
    make(httpserver.url_for("/")).notify(make_alert())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
def test_other_4xx_are_refusals(httpserver, make_alert, status):
    httpserver.expect_request("/").respond_with_data("private", status=status)
    with pytest.raises(Refused, match=f"^HTTP {status}$"):
        make(httpserver.url_for("/")).notify(make_alert())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_retried_and_a_redirect_is_not_followed(httpserver, make_alert, status):
    headers = {"Location": httpserver.url_for("/elsewhere")}
    httpserver.expect_request("/elsewhere").respond_with_data("")
    httpserver.expect_request("/").respond_with_data("private", status=status, headers=headers)
    with pytest.raises(Retry, match=f"^HTTP {status}$"):
        make(httpserver.url_for("/")).notify(make_alert())
    assert [request.path for request, _ in httpserver.log] == ["/"]


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        ("9" * 4000, 1e8, 1e9),
        (None, 3500, 3601),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    ],
    ids=["seconds", "zero", "huge", "in an hour", "long ago"],
)
def test_the_receivers_wish_to_wait_is_told(httpserver, make_alert, header, low, high):
    # Now, as tests are collected minutes before the last one runs.
    header = header or email.utils.formatdate(time.time() + 3600, usegmt=True)
    response = Response(status=429, headers={"Retry-After": header})
    httpserver.expect_request("/").respond_with_response(response)
    with pytest.raises(Retry) as caught:
        make(httpserver.url_for("/")).notify(make_alert())
    assert low <= caught.value.after <= high


@pytest.mark.parametrize("header", ["soon", "-1", "1.5", "", "\u00b2"])
def test_a_wish_that_makes_no_sense_is_none(header):
    assert webhook._seconds(header) is None


def test_a_closed_port_is_retried(make_alert):
    with pytest.raises(Retry, match=r"^ConnectionRefusedError$"):
        make(f"http://127.0.0.1:{free_port()}/").notify(make_alert())


def test_an_unknown_host_is_retried(make_alert):
    with pytest.raises(Retry, match=r"^gaierror$"):
        make("http://nowhere.invalid/").notify(make_alert())


def serve_once(behave):
    """Gives the port of a server that lets `behave(socket, over)` handle its one connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def run():
        with listener, listener.accept()[0] as sock:
            behave(sock, over)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return listener.getsockname()[1], over, thread


def silent(_sock, over):
    over.wait(20)


def dripping(sock, over):
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 200:
        try:
            sock.send(bytes([byte]))
        except OSError:
            return
        if over.wait(0.02):
            return


def garbage(sock, _over):
    sock.recv(65536)
    sock.sendall(b"SSH-2.0-OpenSSH\r\n")


def closing(sock, _over):
    sock.recv(65536)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("behave", [silent, dripping])
def test_a_slow_receiver_is_left_after_the_deadline(make_alert, behave, scheme):
    """The deadline holds for silence, for a byte at a time and for a handshake that hangs."""
    port, over, thread = serve_once(behave)
    start = time.monotonic()
    with pytest.raises(Retry) as caught:
        make(f"{scheme}://127.0.0.1:{port}/", timeout=0.5).notify(make_alert())
    assert time.monotonic() - start < 3
    if (behave, scheme) != (dripping, "https"):
        assert str(caught.value) == "no answer within 0.5 s"
    over.set()
    thread.join(5)


@pytest.mark.parametrize(
    ("behave", "reason"),
    # Which of the two a closed connection is depends on how soon it is noticed.
    [(garbage, "BadStatusLine"), (closing, "RemoteDisconnected|ConnectionResetError")],
)
def test_an_answer_that_is_no_http_is_retried(make_alert, behave, reason):
    port, _over, thread = serve_once(behave)
    with pytest.raises(Retry, match=f"^({reason})$"):
        make(f"http://127.0.0.1:{port}/").notify(make_alert())
    thread.join(5)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_delivery_leaves_no_thread_and_no_socket(httpserver, make_alert):
    httpserver.expect_request("/").respond_with_data("")
    notifier = make(httpserver.url_for("/"))
    notifier.notify(make_alert())
    threads, files = threading.active_count(), open_files()
    for _ in range(20):
        notifier.notify(make_alert())
    wait_for(lambda: threading.active_count() <= threads, "the threads end")
    wait_for(lambda: open_files() <= files + 1, "the sockets are closed on both sides")


@pytest.fixture
def secure_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with HTTPServer("localhost", ssl_context=context) as server:
        server.expect_request("/").respond_with_data("")
        yield server


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(secure_server, make_alert):
    with pytest.raises(Retry, match=r"^SSLCertVerificationError$"):
        make(secure_server.url_for("/")).notify(make_alert())
    assert secure_server.log == []


def test_a_certificate_of_a_known_authority_is_accepted(secure_server, make_alert, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    make(secure_server.url_for("/")).notify(make_alert())
    assert len(secure_server.log) == 1


def test_user_and_password_of_the_address_become_a_header(httpserver, make_alert):
    httpserver.expect_request("/").respond_with_data("")
    url = httpserver.url_for("/").replace("://", "://us%40er:pass@")
    make(url).notify(make_alert())
    [(request, _)] = httpserver.log
    assert (request.authorization.username, request.authorization.password) == ("us@er", "pass")


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://h", "h", 80, "/"),
        ("https://h/a?b=c#d", "h", 443, "/a?b=c"),
        ("HTTPS://H:1/", "h", 1, "/"),
        ("http://[::1]:8/x", "::1", 8, "/x"),
    ],
)
def test_addresses_are_taken_apart(url, host, port, path):
    target = webhook.parse_url(url)
    assert (target.host, target.port, target.path) == (host, port, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com/canary",
        "ftp://host/canary",
        "file:///canary",
        "http://",
        "http:///canary",
        "http://host:99999/canary",
        "http://host:x/canary",
        "http://[::1/canary",
        "http://host/canary\r\nX: y",
        "http://host/a canary",
        "http://host/\u00e9canary",
        f"http://{'a' * 70}.com/canary",
    ],
)
def test_an_unfit_address_is_refused_at_the_start_without_showing_it(url):
    settings = settings_with(webhook_url=url)
    with pytest.raises(SettingsError, match="FOLLOWTHROUGH_ALERT_WEBHOOK_URL: ") as caught:
        webhook.build(settings)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "secret", ["canary!", "whsec_", "whsec_Y2FuYXJ5", f"{SECRET} whsec_canary"]
)
def test_an_unfit_secret_is_refused_at_the_start_without_showing_it(secret):
    settings = settings_with(webhook_url="http://host/", webhook_secret=secret)
    with pytest.raises(SettingsError, match="FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET: ") as caught:
        webhook.build(settings)
    assert "canary" not in str(caught.value)


def settings_with(**values):
    settings = load(Settings, {})
    for name, value in values.items():
        object.__setattr__(settings, name, value)
    return settings
