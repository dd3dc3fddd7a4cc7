"""Jaeger's own page, served beside the console's API, searches and shows our traces."""

from __future__ import annotations

import http.client
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser.conftest import TRACE
from tests.support import wait_for

pytestmark = pytest.mark.browser

ARCHIVE = Path(__file__).with_name("jaeger-ui.tar.xz")


@pytest.fixture(scope="module")
def jaeger_ui(agent, tmp_path_factory):
    """The address of Jaeger's page, whose API is the agent's."""
    folder = tmp_path_factory.mktemp("ui")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder / "jaeger-ui"))

        def do_GET(self):
            if self.path.startswith("/api/"):
                self.pass_on()
                return
            if not self.path.startswith("/static/"):
                self.path = "/index.html"
            super().do_GET()

        def pass_on(self):
            connection = http.client.HTTPConnection("127.0.0.1", agent.console, timeout=10)
            connection.request("GET", self.path)
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            connection.close()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def shows(tab, *texts):
    wait_for(lambda: all(text in tab.text() for text in texts), f"the page shows {texts}")


def test_its_search_finds_the_trace(tab, jaeger_ui):
    tab.look()
    tab.open(f"{jaeger_ui}/search?service=followthrough-worker&lookback=1h&limit=20")
    shows(tab, "1 Trace", "followthrough-web: POST /api/send-email", "7 Spans", "1 Error")
    tab.open(f"{jaeger_ui}/search?service=followthrough-worker&operation=nothing&lookback=1h")
    shows(tab, "No trace results")


def test_its_search_form_offers_services_and_operations(tab, jaeger_ui):
    tab.look()
    tab.open(f"{jaeger_ui}/search?service=followthrough-web&lookback=1h")
    shows(tab, "1 Trace")
    shows(tab, "Service (3)", "Operation (2)")


def test_its_trace_page_shows_spans_details_and_errors(tab, jaeger_ui):
    tab.look()
    tab.open(f"{jaeger_ui}/trace/{TRACE}")
    shows(tab, "process tasks.send_email", "SMTP", "followthrough-worker", "Total Spans")
    for row in ("process tasks.send_email",):
        tab.run(
            "[...document.querySelectorAll('.span-name')]"
            f".find(name => name.textContent.includes({row!r})).click()"
        )
    shows(tab, "otel.status_description", "SMTPServerDisconnected: gone")


def test_its_dependency_graph_has_our_services(tab, jaeger_ui):
    tab.look()
    tab.open(f"{jaeger_ui}/dependencies")
    shows(tab, "followthrough-web", "followthrough-worker")
