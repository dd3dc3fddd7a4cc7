"""What holds for every notifier; a new one needs a bench here that can break its receiver."""

from __future__ import annotations

import json
import traceback
from importlib.metadata import entry_points

import pytest
import structlog
from structlog.testing import capture_logs

from followthrough.alerts import spool
from followthrough.alerts.build import GROUP, build
from followthrough.alerts.dispatcher import Dispatcher
from followthrough.alerts.notifiers import Refused, Retry
from followthrough.settings import Settings, load
from tests.support import free_port

# Planted wherever a notifier is given something private.
CANARY = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5"


class LogBench:
    """The receiver is this process's log; it breaks as a full disk breaks it."""

    refusable = False

    def __init__(self):
        self.env = {"FOLLOWTHROUGH_ALERT_NOTIFIERS": "log"}
        self.lines = []
        self.mend()

    def mend(self):
        structlog.configure(processors=[self._keep])

    def fail(self):
        structlog.configure(processors=[self._fail])

    def received(self):
        return [line["alert_id"] for line in self.lines if line["event"] == "alert"]

    def received_text(self):
        return json.dumps([line for line in self.lines if line["event"] == "alert"])

    def _keep(self, _logger, _method, event):
        self.lines.append(dict(event))
        raise structlog.DropEvent

    def _fail(self, _logger, _method, event):
        if event["event"] == "alert":
            raise OSError(28, f"No space left for {CANARY}")
        return self._keep(_logger, _method, event)

    def close(self):
        structlog.reset_defaults()


class WebhookBench:
    """The receiver is an HTTP server; its address, user, password and secret are private."""

    refusable = True

    def __init__(self, server):
        self.server = server
        address = server.url_for(f"/{CANARY}?token={CANARY}")
        self.env = {
            "FOLLOWTHROUGH_ALERT_NOTIFIERS": "webhook",
            "FOLLOWTHROUGH_ALERT_WEBHOOK_URL": address.replace("://", f"://{CANARY}:{CANARY}@"),
            "FOLLOWTHROUGH_ALERT_WEBHOOK_SECRET": f"whsec_{CANARY}",
        }
        self.took = []
        self.mend()

    def mend(self):
        self._answer(200)

    def fail(self):
        self._answer(503)

    def refuse(self):
        self._answer(410)

    def received(self):
        return [request.headers["webhook-id"] for request in self.took]

    def received_text(self):
        return self.took[-1].get_data(as_text=True)

    def _answer(self, status):
        self.server.clear()
        self.server.expect_request(f"/{CANARY}").respond_with_handler(
            lambda request: self._handle(request, status)
        )

    def _handle(self, request, status):
        from werkzeug import Response

        request.get_data()
        if status == 200:
            self.took.append(request)
        return Response(CANARY, status)

    def close(self):
        self.server.clear()


BENCHES = {
    "log": lambda _server: LogBench(),
    "webhook": WebhookBench,
}


@pytest.fixture(params=BENCHES)
def bench(request, httpserver):
    bench = BENCHES[request.param](httpserver)
    yield bench
    bench.close()


@pytest.fixture
def notifier(bench):
    [notifier] = build(load(Settings, bench.env))
    return notifier


@pytest.fixture
def refusing(bench):
    """The bench where its receiver can refuse; one that can't has nothing to show."""
    if bench.refusable:
        bench.refuse()
    else:
        bench.fail()
    return bench


def test_every_notifier_on_offer_has_a_bench():
    assert {entry.name for entry in entry_points(group=GROUP)} == set(BENCHES)


def test_it_is_called_as_settings_call_it(bench, notifier):
    assert notifier.name == bench.env["FOLLOWTHROUGH_ALERT_NOTIFIERS"]


def test_it_delivers_all_that_the_alert_tells(bench, notifier, make_alert):
    alert = make_alert(message="no money", trace_id="ab" * 16, service="shop")
    notifier.notify(alert)
    assert bench.received() == [alert.id]
    for told in ("no money", "ab" * 16, "shop", "tasks.pay", alert.task_id, alert.fingerprint):
        assert told in bench.received_text()


@pytest.mark.parametrize(
    "text", ["a\r\nb", "\x1b[31mred\x00", "\u2028\u202e", "@everyone <!channel> <b>", "\U0001f4b8"]
)
def test_it_delivers_any_text(bench, notifier, make_alert, text):
    alert = make_alert(message=text, task=text, error_type=text, service=text, task_id=text)
    notifier.notify(alert)
    assert bench.received() == [alert.id]


def test_a_failing_receiver_gets_the_same_alert_again(bench, notifier, make_alert, tmp_path):
    alert = make_alert()
    spool.write(tmp_path, alert)
    dispatcher = Dispatcher(tmp_path, [notifier])
    bench.fail()
    assert dispatcher.step(0.0) > 0
    assert [path.stem for path in spool.pending(tmp_path)] == [alert.id]
    bench.mend()
    dispatcher.step(1000.0)
    assert bench.received() == [alert.id]
    assert spool.pending(tmp_path) == []


def test_a_refusal_sets_the_alert_aside_and_only_a_refusal_does(
    refusing, notifier, make_alert, tmp_path
):
    spool.write(tmp_path, make_alert())
    Dispatcher(tmp_path, [notifier]).step(0.0)
    failed = list((tmp_path / "alerts").glob("failed/*.json"))
    assert (len(failed), len(spool.pending(tmp_path))) == ((1, 0) if refusing.refusable else (0, 1))


@pytest.mark.parametrize("trouble", ["fail", "refuse"])
def test_its_errors_carry_no_secret(bench, notifier, make_alert, trouble):
    getattr(bench, trouble, bench.fail)()
    with pytest.raises((Retry, Refused, OSError)) as caught:
        notifier.notify(make_alert())
    # Only these two are shown; of any other error the dispatcher tells the type alone.
    if isinstance(caught.value, Retry | Refused):
        assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("trouble", ["fail", "refuse", "mend"])
def test_logs_of_its_deliveries_carry_no_secret(bench, notifier, make_alert, tmp_path, trouble):
    getattr(bench, trouble, bench.fail)()
    spool.write(tmp_path, make_alert())
    dispatcher = Dispatcher(tmp_path, [notifier])
    lines = watched(bench, lambda: dispatcher.step(0.0))
    assert {line["event"] for line in lines} & {"alert.delivered", "alert.retried", "alert.refused"}
    assert CANARY not in json.dumps(lines)


def test_an_unreachable_receiver_tells_no_secret(make_alert):
    env = {
        "FOLLOWTHROUGH_ALERT_NOTIFIERS": "webhook",
        "FOLLOWTHROUGH_ALERT_WEBHOOK_URL": f"http://{CANARY}@127.0.0.1:{free_port()}/{CANARY}",
    }
    [notifier] = build(load(Settings, env))
    with pytest.raises(Retry) as caught:
        notifier.notify(make_alert())
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def watched(bench, work):
    if isinstance(bench, LogBench):
        work()
        return bench.lines
    with capture_logs() as lines:
        work()
    return lines


def test_it_shows_no_secret_of_its_own(bench, notifier):
    assert CANARY not in repr(notifier)
