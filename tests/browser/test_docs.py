"""The page of the API in a real browser: it shows every operation, and sends a request."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.browser.chromium import DESKTOP
from tests.support import free_port, python, running, wait_for

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The web process alone: jobs are queued in its memory."""
    directory = tmp_path_factory.mktemp("docs")
    url = f"http://127.0.0.1:{free_port()}"
    env = {
        "PORT": url.rpartition(":")[2],
        "STATE_DIR": str(directory / "state"),
        "CELERY_BROKER_URL": "memory://",
        "CELERY_RESULT_BACKEND": "cache+memory://",
        "OTEL_TRACES_EXPORTER": "none",
    }
    with running(python("-m", "gunicorn", "run:app"), directory / "web.log", env):
        wait_for(lambda: urllib.request.urlopen(f"{url}/api/health").close() or True, "web answers")
        yield url


@pytest.fixture
def page(tab, url):
    tab.look(DESKTOP)
    tab.call("Network.enable")
    tab.open(f"{url}/docs")
    wait_for(lambda: tab.run("document.querySelectorAll('.opblock').length"), "operations shown")
    return tab


def requested(tab):
    """The addresses of all requests the page made."""
    return [
        event["params"]["request"]["url"]
        for event in tab._browser.events
        if event["method"] == "Network.requestWillBeSent" and event["sessionId"] == tab._session
    ]


def test_every_operation_is_shown_and_no_request_leaves_the_service(page, url, tmp_path):
    with urllib.request.urlopen(f"{url}/openapi.json") as answer:
        paths = json.load(answer)["paths"]
    shown = page.run(
        "[...document.querySelectorAll('.opblock-summary-path')].map(e => e.dataset.path)"
    )
    assert sorted(shown) == sorted(path for path, item in paths.items() for _ in item)
    assert page.run("document.title") == "Followthrough: the API"
    addresses = requested(page)
    assert len(addresses) >= 4
    assert [each for each in addresses if not each.startswith((url, "data:"))] == []
    assert page.problems() == []
    page.screenshot(tmp_path / "docs.png")
    assert (tmp_path / "docs.png").stat().st_size > 10_000


def test_an_example_is_sent_from_the_page(page):
    """Open the operation, press Execute: the example is taken."""
    mail = "document.querySelector('[id$=email_queue_email]')"
    page.run(f"{mail}.querySelector('.opblock-summary-control').click()")
    filled = f"{mail}.querySelector('textarea')?.value.includes('@')"
    wait_for(lambda: page.run(filled), "the example is there")
    page.run(f"{mail}.querySelector('button.execute').click()")
    live = f"{mail}.querySelector('.live-responses-table')?.innerText ?? ''"
    wait_for(lambda: "202" in page.run(live), "the answer is shown")
    assert "Email queued for" in page.run(live)
