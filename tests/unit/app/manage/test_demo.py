"""The demo's plan, and its driver with a service that is made up."""

import io
import re
from collections import Counter

import pytest
from PIL import Image

from app.manage.demo import command, samples
from app.manage.demo.display import Lines, watching
from app.manage.demo.driver import WAITING, Driver, Job, needs, percent
from app.manage.demo.plan import PLAN
from app.manage.demo.step import Step, get
from app.manage.demo.template import fill, look_up, words
from app.manage.demo.transport import Answer

KNOWN = {"service": "http://s", "hook": "http://h", "run": "r", "rows": 1}


class Service:
    """Answers each request with the next of its path's answers, the last again and again."""

    def __init__(self, **answers):
        self.answers = {path.replace("_", "/"): list(each) for path, each in answers.items()}
        self.asked = []

    def __call__(self, request):
        self.asked.append(request)
        answers = self.answers[request.path.partition("?")[0]]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def status(state, **more):
    return Answer(200, {"task_id": "t", "state": state, **more})


QUEUED = Answer(202, {"task_id": "t", "trace_id": "1f"})
TASK = "/api/task-status/t"


def driven(plan, service, limit=10.0, watch=lambda _: None):
    # A clock that moves by being looked at.
    ticks = iter(range(10_000))
    driver = Driver(plan, service, KNOWN, {"a.csv": b"a"}, lambda: float(next(ticks)) / 10)
    return driver.run(limit, watch), driver.jobs


def service(*statuses, **answers):
    made = Service(**answers)
    made.answers[TASK] = list(statuses)
    return made


def test_a_job_is_watched_to_its_end():
    made = service(
        status("PROGRESS", progress={"percent": 40}),
        status("SUCCESS", result={"n": 7}),
        _go=[QUEUED],
    )
    seen = []
    step = Step("a", "A", "/go", json={"x": "{run}"}, shows={"result.n": 7}, says="{result.n} rows")
    well, [job] = driven([step], made, watch=lambda jobs: seen.append(jobs[0].percent))
    assert well
    assert (job.state, job.says, job.trace_id, job.percent) == ("SUCCESS", "7 rows", "1f", 100)
    assert 40 in seen
    assert made.asked[0].json == {"x": "r"}
    assert job.seconds > 0
    # Looks leave no traces.
    assert [each.headers.get("traceparent", "")[-3:] for each in made.asked] == ["", "-00", "-00"]


@pytest.mark.parametrize("state", ["FAILURE", "RETRY"])
def test_a_failure_that_is_expected_is_well(state):
    made = service(status("STARTED"), status(state, error="no"), _go=[QUEUED])
    well, [job] = driven([Step("a", "A", "/go", ends=state, says="{error}")], made)
    assert well
    assert (job.state, job.says) == (state, "no")


@pytest.mark.parametrize(
    ("step", "answer", "told"),
    [
        ({}, status("FAILURE", error="broke"), "expected SUCCESS; broke"),
        ({"ends": "FAILURE"}, status("SUCCESS", result=1), "expected FAILURE"),
        ({"shows": {"result.n": 2}}, status("SUCCESS", result={"n": 1}), "result.n is 1, not 2"),
        ({"shows": {"result.n": 2}}, status("SUCCESS", result=None), "result.n is None, not 2"),
        ({}, ConnectionError("refused"), "ConnectionError: refused"),
        ({}, status("STARTED"), "not finished after 3 s"),
    ],
)
def test_what_is_not_as_expected_is_said(step, answer, told):
    well, [job] = driven([Step("a", "A", "/go", **step)], service(answer, _go=[QUEUED]), limit=3)
    assert not well
    assert job.expected is False
    assert told in job.says


def test_an_answer_of_another_status_is_not_as_expected():
    problem = Answer(503, {"title": "Service Unavailable", "detail": "Redis is away."})
    well, [job] = driven([Step("a", "A", "/go")], Service(_go=[problem]))
    assert not well
    assert (job.state, job.says) == ("HTTP 503", "expected HTTP 202; Redis is away.")


def test_a_step_waits_for_what_it_names_and_is_left_out_without_it():
    first = Step("a", "A", "/go")
    second = get("b", "B", "/n/{a.result.n}", "{n}")
    made = service(status("STARTED"), status("SUCCESS", result={"n": 7}), _go=[QUEUED])
    made.answers["/n/7"] = [Answer(200, {"n": 7})]
    assert driven([second, first], made)[0]
    assert made.asked[0].path == "/go"

    made = service(status("FAILURE", error="no"), _go=[QUEUED])
    _, [_, left_out] = driven([first, second], made)
    assert left_out.says == "left out, as it needs: A"
    assert left_out.state == WAITING


def test_an_answer_without_the_member_that_a_step_needs_is_said():
    made = service(status("SUCCESS", result=None), _go=[QUEUED])
    well, [_, job] = driven([Step("a", "A", "/go"), get("b", "B", "/{a.result.n}", "")], made)
    assert not well
    assert job.says == "no answer has a.result.n"


def test_only_one_look_of_a_round_waits():
    made = service(
        status("STARTED"), status("STARTED"), status("SUCCESS"), _a=[QUEUED], _b=[QUEUED]
    )
    driven([Step("a", "A", "/a"), Step("b", "B", "/b")], made)
    looks = [each.path for each in made.asked if "status" in each.path]
    assert looks[:2] == [f"{TASK}?wait=0.5", TASK]


def test_a_file_is_sent_as_a_form():
    made = service(status("SUCCESS"), _go=[QUEUED])
    driven([Step("a", "A", "/go", file="a.csv", form={"size": "1"})], made)
    assert made.asked[0].files == {"file": ("a.csv", b"a")}
    assert made.asked[0].form == {"size": "1"}


def test_places_are_filled_and_keep_their_type():
    known = {"a-b": {"list": [{"n": 1}]}}
    assert fill({"x": ["{a-b.list.0.n}", "no {a-b.list.0.n}"]}, known) == {"x": [1, "no 1"]}
    for path in ("a-b.other", "a-b.list.9", "a-b.list.x", "a-b.list.0.n.deeper"):
        with pytest.raises(LookupError):
            look_up(known, path)


def test_what_a_service_says_can_not_steer_the_terminal():
    said = words("{error} {gone}", {"error": "one\ntwo\x1b[2J\x07"})
    assert said == "one two?[2J? ?"


def test_percent_is_a_number_within_its_bounds():
    told = [{"percent": 40}, {"percent": 400}, {"percent": "x"}, None, 3]
    assert [percent({"progress": each}) for each in told] == [40, 100, 0, 0, 0]


def test_every_step_has_its_own_key_and_needs_only_what_comes():
    keys = Counter(step.key for step in PLAN)
    assert max(keys.values()) == 1
    for step in PLAN:
        assert needs(step) <= {*keys, *KNOWN}


ALIASES = re.compile(r"^/api/(monitoring/|health$|ready$)")


def test_the_plan_tries_each_route_that_is_published(client):
    """Routes that are the same under two addresses count once; asking for a status is its means."""
    document = client.get("/openapi.json").get_json()
    published = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if not ALIASES.match(path)
    }
    tried = {(step.method, step.path.partition("?")[0]) for step in PLAN}
    assert {each for each in published if not any(fits(each, step) for step in tried)} == set()


def fits(published, tried):
    # A place and a parameter stand for any part of a path.
    parts = [part if "{" not in part else "{}" for part in published[1].split("/")]
    found = tried[1].split("/")
    same = len(parts) == len(found) and all(
        a in ("{}", b) for a, b in zip(parts, found, strict=True)
    )
    return same and published[0] == tried[0]


def test_the_sample_image_is_one():
    with Image.open(io.BytesIO(samples.png())) as image:
        image.load()
        assert image.size == (samples.SIDE, samples.SIDE)


def test_lines_are_plain_and_told_once():
    stream = io.StringIO()
    lines = Lines(stream)
    job = Job(Step("a", "A job", "/"), "FAILURE", expected=False, says="broke")
    waits = Job(Step("b", "B", "/"))
    lines([job, waits])
    lines([job, waits])
    assert stream.getvalue() == "NOT A job                        FAILURE     0.0 s  broke\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_table_in_which_nothing_is_markup(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    job = Job(Step("a", "A", "/"), "SUCCESS", True, "[red]not red[/red]", 100, task_id="t")
    with watching(stream) as watch:
        watch([job])
    assert "[red]not red[/red]" in stream.getvalue()
    assert "━" in stream.getvalue()


@pytest.mark.parametrize("url", ["127.0.0.1:5000", "ftp://127.0.0.1"])
def test_an_address_that_is_none_is_refused(url, capsys):
    assert command.run(None, url) == 2
    assert "http://" in capsys.readouterr().err
