"""Sources: the steps of a run in this process, and what is answered to whom."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, select, update

from app import db
from app.models import EtlRun, Source, SourceRecord, TaskRecord
from app.services.etl import pipeline, records, runs, sources, staging
from app.services.failures import JobFailedError
from app.services.http_client import UnavailableError
from app.tasks import etl
from tests.unit.app.test_bad_input import refused

GOOD = "id,price\n1, 2.50 \n2,3\n"


@pytest.fixture
def app(make_app):
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1")
    with app.app_context():
        yield app


@pytest.fixture
def source(app):
    """Adds a source; gives its id."""

    def add(location, kind="file", **options):
        now = datetime.now(UTC)
        values = {"location": location, "kind": kind, "enabled": True}
        values |= {"options": {"key": "id", **options}, "created_at": now, "updated_at": now}
        with db.session() as session:
            name = f"source {session.scalar(select(func.count()).select_from(Source))}"
            return session.scalar(insert(Source).values(name=name, **values).returning(Source.id))

    return add


@pytest.fixture
def file(app):
    """Writes a file of the import folder; gives its path inside."""

    def write(content, name="rows.csv"):
        folder = app.extensions["settings"].import_dir
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        return name

    return write


def table(source_id):
    return {key: data for key, data, *_ in records.page(source_id, "", 1000)}


def posted(app, path, **body):
    client = app.test_client()
    answer = client.post(f"/api/etl/{path}", json=body)
    assert answer.status_code == 202, answer.get_json()
    document = answer.get_json()
    return document["message"], client.get(document["status_url"]).get_json()


def test_one_source_goes_through_all_steps(app):
    message, status = posted(app, "single/1")
    assert message == "ETL pipeline started"
    result = status["result"]
    run = result.pop("run")
    assert result == {
        "source_id": 1,
        "records": 16,
        "validated": True,
        "valid_records": 16,
        "errors": [],
        "transformed": True,
        "saved": True,
        "saved_records": 16,
    }
    found = table(1)
    assert len(found) == 16
    assert found["BER"] == {
        "code": "BER",
        "city": "Berlin",
        "country": "DE",
        "population": 3755251,
        "founded": "1237-10-28",
        "capital": True,
        "area_km2": "891.12",
    }
    assert not staging._folder(run).exists()


@pytest.mark.parametrize("ids", [[1], [2, 1]])
def test_the_totals_are_those_of_the_rows_saved(app, ids):
    message, status = posted(app, "parallel", source_ids=ids)
    assert message == f"Parallel ETL started for {len(ids)} sources"
    saved = sum(len(table(each)) for each in ids)
    assert status["result"] == {
        "total_sources": len(ids),
        "total_records": saved,
        "sources": ids,
    }


def test_a_group_fetches_and_writes_nothing(app):
    answer = app.test_client().post("/api/etl/group", json={"source_ids": [1, 2]})
    assert answer.get_json()["message"] == "ETL group started for 2 sources"
    assert {each.records for each in runs.last().values()} == {16, 12}
    assert {each.status for each in runs.last().values()} == {"fetched"}
    assert records.counts() == {}


def test_bad_rows_are_named_and_stop_none_of_the_others(file, source):
    content = "id,price\n1,2.50\n2,much\n,1\n1,3\n5\n6,7\n"
    wanted = source(file(content), types={"price": "decimal"})
    assert pipeline.sync(wanted, "r") == 2
    assert table(wanted) == {"1": {"id": "1", "price": "2.50"}, "6": {"id": "6", "price": "7"}}
    run = runs.get("r")
    assert (run.records, run.valid_records, run.saved_records) == (6, 2, 2)
    assert run.errors == [
        {"row": 3, "reason": 'price: "much" is no decimal.'},
        {"row": 4, "reason": "id: is missing."},
        {"row": 5, "reason": "id: an earlier row has the same."},
        {"row": 6, "reason": "The row has 1 fields, the header 2."},
    ]


def test_the_reasons_are_bounded(file, source):
    wanted = source(file("id\n" + "1\n" * 500))
    assert pipeline.sync(wanted, "r") == 1
    assert len(runs.get("r").errors) == pipeline.MOST_ERRORS


def test_a_run_again_gives_the_same_and_writes_nothing(file, source, monkeypatch):
    """Each of its steps, and all of them."""
    wanted = source(file(GOOD))
    steps = [
        lambda: pipeline.fetch(wanted, "r"),
        lambda: pipeline.validate("r"),
        lambda: pipeline.transform("r"),
        lambda: pipeline.save("r"),
    ]
    first = [step() for step in steps for _ in range(2)]
    monkeypatch.setattr(records, "save", lambda *_: pytest.fail("written twice"))
    file("id\n9\n")
    assert first == [result for step in steps for result in [step()] * 2]
    assert pipeline.sync(wanted, "r") == 2


def test_new_rows_replace_those_with_the_same_key(file, source):
    wanted = source(file(GOOD))
    pipeline.sync(wanted, "first")
    file("id,price\n2,4\n3,5\n")
    pipeline.sync(wanted, "second")
    assert {key: data["price"] for key, data in table(wanted).items()} == {
        "1": "2.50",
        "2": "4",
        "3": "5",
    }


def test_an_older_run_that_saves_late_replaces_nothing(file, source):
    wanted = source(file(GOOD))
    pipeline.fetch(wanted, "old")
    pipeline.validate("old")
    pipeline.transform("old")
    file("id,price\n1,9\n")
    pipeline.sync(wanted, "new")
    assert pipeline.save("old")["saved_records"] == 2
    assert {key: data["price"] for key, data in table(wanted).items()} == {"1": "9", "2": "3"}


def test_a_save_that_was_killed_between_two_chunks_goes_on(file, source, monkeypatch):
    monkeypatch.setattr(pipeline, "CHUNK", 2)
    wanted = source(file("id\n" + "".join(f"{n}\n" for n in range(5))))
    save, calls = records.save, []

    def killed(*args):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return save(*args)

    monkeypatch.setattr(records, "save", killed)
    with pytest.raises(MemoryError):
        pipeline.sync(wanted, "r")
    assert len(table(wanted)) == 2
    assert pipeline.sync(wanted, "r") == 5
    assert len(table(wanted)) == 5


def test_who_comes_second_gets_what_the_first_has_done(file, source, monkeypatch):
    """Both run the same step, and the first removes the rows at its end."""
    wanted = source(file(GOOD))
    pipeline.fetch(wanted, "r")
    pipeline.validate("r")
    pipeline.transform("r")
    read, before = staging.read, []

    def overtaken(*args):
        if not before:
            before.append(1)
            pipeline.save("r")
        return read(*args)

    monkeypatch.setattr(staging, "read", overtaken)
    assert pipeline.save("r")["saved_records"] == 2
    assert len(table(wanted)) == 2


def test_a_failed_run_may_begin_again(file, source):
    wanted = source("rows.csv")
    with pytest.raises(JobFailedError, match=r"rows.csv: Is no file in the imports folder\."):
        pipeline.sync(wanted, "r")
    assert (runs.get("r").status, staging._folder("r").exists()) == ("failed", False)
    file(GOOD)
    assert pipeline.sync(wanted, "r") == 2
    assert (runs.get("r").status, runs.get("r").error) == ("saved", None)


def test_a_step_before_its_turn_fails(file, source):
    pipeline.fetch(source(file(GOOD)), "r")
    with pytest.raises(JobFailedError, match="not been validated"):
        pipeline.transform("r")
    with pytest.raises(JobFailedError, match="No run has the id x"):
        pipeline.save("x")


@pytest.mark.parametrize("data", [None, [], {}, {"run": 1}, "r"])
def test_a_step_needs_what_the_one_before_gave(data):
    with pytest.raises(JobFailedError, match="run: "):
        etl.run_of(data)


def test_what_was_left_behind_is_removed(file, source):
    wanted = source(file(GOOD))
    pipeline.fetch(wanted, "r")
    assert pipeline.tidy(datetime.now(UTC) - timedelta(days=1)) == 0
    assert staging._folder("r").exists()
    assert pipeline.tidy(datetime.now(UTC) + timedelta(seconds=5)) == 1
    assert (runs.get("r").status, staging._folder("r").exists()) == ("abandoned", False)
    with pytest.raises(JobFailedError, match="not been fetched"):
        pipeline.validate("r")


def test_old_runs_are_forgotten(file, source):
    pipeline.sync(source(file(GOOD)), "r")
    with db.session() as session:
        session.execute(update(EtlRun).values(updated_at=datetime.now(UTC) - 2 * runs.KEPT))
    pipeline.tidy(datetime.now(UTC) - timedelta(days=1))
    assert runs.last() == {}


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ([], "must be an object"),
        ({}, "key is missing"),
        ({"key": 1}, "key can't be 1"),
        ({"key": "id", "type": {}}, "type is none of key, list, required, types, folder"),
        ({"key": "id", "types": {"a": "money"}}, "types can't be {'a': 'money'}"),
        ({"key": "id", "required": "a"}, "required can't be a"),
        ({"key": "id", "folder": "/etc"}, "folder can't be /etc"),
    ],
)
def test_wrong_options_are_named(file, source, options, wrong):
    wanted = source(file(GOOD))
    with db.session() as session:
        session.execute(update(Source).where(Source.id == wanted).values(options=options))
    with pytest.raises(JobFailedError) as raised:
        pipeline.sync(wanted, "r")
    assert str(raised.value) == f"The options of source {wanted}: {wrong}."


def test_a_source_over_http(httpserver, source):
    body = '{"data": {"rows": [{"id": 1, "price": 2.50}, 3]}}'
    httpserver.expect_request("/rows").respond_with_data(body, content_type="application/json")
    wanted = source(httpserver.url_for("/rows"), "http_json", list="data.rows")
    assert pipeline.sync(wanted, "r") == 1
    assert table(wanted) == {"1": {"id": 1, "price": "2.50"}}
    assert runs.get("r").errors == [{"row": 2, "reason": "The row is no object."}]


def test_csv_over_http(httpserver, source):
    httpserver.expect_request("/rows").respond_with_data("id;näme\n1;Ädä\n")
    wanted = source(httpserver.url_for("/rows"), "http_csv")
    assert pipeline.sync(wanted, "r") == 1
    assert table(wanted) == {"1": {"id": "1", "näme": "Ädä"}}


def test_the_sample_of_the_service_itself(make_app, httpserver):
    """Its address is a path, which the settings complete; no other may be reached by that."""
    app = make_app(SERVICE_URL=httpserver.url_for("/"), OUTGOING_ALLOWED="192.0.2.1")
    orders = app.test_client().get("/api/samples/orders").get_json()
    httpserver.expect_request("/api/samples/orders").respond_with_json(orders)
    with app.app_context():
        assert pipeline.sync(3, "r") == 20
        assert table(3)["7001"]["total"] == "320.71"
        with db.session() as session:
            url = httpserver.url_for("/api/samples/orders")
            session.execute(update(Source).where(Source.id == 3).values(location=url))
        with pytest.raises(Exception, match="OUTGOING_ALLOWED"):
            pipeline.sync(3, "other")


@pytest.mark.parametrize("code", [500, 503, 429])
def test_trouble_is_tried_again(app, httpserver, source, code):
    httpserver.expect_ordered_request("/").respond_with_data("", code)
    httpserver.expect_ordered_request("/").respond_with_json([{"id": 1}])
    wanted = source(httpserver.url_for("/"), "http_json")
    assert posted(app, f"single/{wanted}")[1]["result"]["saved_records"] == 1


def test_trouble_that_stays_fails_with_the_flags(app, httpserver, source):
    httpserver.expect_request("/").respond_with_data("", 503)
    wanted = source(httpserver.url_for("/"), "http_json")
    ended = etl.fetch_data.apply(args=[wanted])
    assert str(ended.result) == "HTTP 503"
    assert ended.result.details == {"retryable": True, "retries_exhausted": True}
    assert len(httpserver.log) == 5
    assert (runs.get(ended.id).status, runs.get(ended.id).error) == ("failed", "HTTP 503")


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (404, "", "HTTP 404"),
        (302, "", "HTTP 302"),
        (200, "{", "The rows can't be read: this is no JSON."),
        (200, "[NaN]", "The rows can't be read: this is no JSON."),
        (200, "[" * 100_000, "The rows can't be read: this is no JSON."),
        (200, "[" + "9" * 5000 + "]", "The rows can't be read: this is no JSON."),
        (200, "{}", "There is no list."),
        (
            200,
            "[" + " " * 200_000 + "]",
            "It is longer than 150000 bytes; SOURCE_MAX_BYTES sets the limit.",
        ),
    ],
    ids=lambda each: str(each)[:12],
)
def test_what_is_wrong_for_good_fails_at_once(make_app, source, httpserver, code, body, error):
    wanted = source(httpserver.url_for("/"), "http_json")
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1", SOURCE_MAX_BYTES="150000")
    httpserver.expect_request("/").respond_with_data(body, code)
    with app.app_context():
        ended = etl.fetch_data.apply(args=[wanted])
        assert str(ended.result) == error
        assert ended.result.details == {"retryable": False}
        assert runs.get(ended.id).error == error
    assert len(httpserver.log) == 1


def test_a_failing_source_ends_the_chain_in_eager_mode_too(app, source):
    wanted = source("none.csv")
    _, status = posted(app, f"single/{wanted}")
    assert status["state"] == "FAILURE"
    assert status["error"].startswith("tasks.fetch_data (")
    assert status["error"].endswith(": none.csv: Is no file in the imports folder.")


def test_nobody_answers(source):
    wanted = source("http://127.0.0.1:9/", "http_json")
    with pytest.raises(UnavailableError):
        pipeline.sync(wanted, "r")
    assert runs.get("r").status == "failed"


@pytest.mark.parametrize(
    ("retries", "chance", "asked", "waited"),
    [(0, 0, None, 2), (3, 0, None, 16), (3, 1, None, 17.6), (0, 0, 30, 30), (0, 1, 1e6, 600)],
)
def test_the_pause_grows_or_is_what_was_asked_for(retries, chance, asked, waited):
    assert etl.pause(retries, chance, asked) == pytest.approx(waited)


@pytest.mark.parametrize("path", ["/etc/passwd", "../app.db", "link", "", "\0", "a/../../app.db"])
def test_a_file_outside_is_refused(app, source, file, path):
    file(GOOD)
    folder = app.extensions["settings"].import_dir
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(JobFailedError, match="Is no file in the imports folder"):
        pipeline.sync(source(path), "r")


def test_the_sources_are_listed(app, file, source):
    wanted = source(f"http://user:secret@127.0.0.1:9/{file(GOOD)}?token=secret", "http_json")
    pipeline.sync(1, "r")
    answer = app.test_client().get("/api/sources")
    assert "secret" not in answer.get_data(as_text=True)
    first, second, third, last = answer.get_json()["sources"]
    assert (first["id"], first["name"], first["records"]) == (1, "sample cities", 16)
    assert (first["last_run"]["status"], first["last_run"]["saved_records"]) == ("saved", 16)
    assert (second["last_run"], third["last_run"]) == (None, None)
    assert (last["id"], last["location"]) == (wanted, "http://127.0.0.1:9/rows.csv")


def test_records_come_in_pages(app):
    pipeline.sync(1, "r")
    client, keys, after = app.test_client(), [], ""
    while after is not None:
        url = f"/api/sources/1/records?limit=7&after={after}"
        page = client.get(url).get_json()
        keys += [each["key"] for each in page["records"]]
        assert {each["run"] for each in page["records"]} == {"r"}
        after = page["next"]
    assert keys == sorted(table(1))
    everything = client.get("/api/sources/1/records").get_json()
    assert (len(everything["records"]), everything["next"]) == (16, None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=%00", "after"),
        ("after=" + "a" * 256, "after"),
        ("x=1", "x"),
    ],
)
def test_wrong_parameters_are_named(client, query, field):
    document = refused(client.get(f"/api/sources/1/records?{query}"), 400)
    assert [each["field"] for each in document["errors"]] == [field]


def published(app):
    with app.app_context(), db.session() as session:
        return session.scalar(select(func.count()).select_from(TaskRecord))


@pytest.mark.parametrize(
    "ids",
    [None, 1, "1", {}, [], list(range(1, 102)), [1, 1], "[1]"],
    ids=lambda each: repr(each)[:10],
)
@pytest.mark.parametrize("path", ["parallel", "group"])
def test_wrong_ids_are_refused(app, path, ids):
    answer = app.test_client().post(f"/api/etl/{path}", json={"source_ids": ids})
    assert [each["field"] for each in refused(answer, 400)["errors"]] == ["source_ids"]
    assert published(app) == 0


@pytest.mark.parametrize("one", [None, "1", 1.5, True, 0, -1, 2**31, 10**30, [1]])
def test_a_wrong_id_is_named_by_its_place(app, one):
    answer = app.test_client().post("/api/etl/parallel", json={"source_ids": [1, one]})
    assert [each["field"] for each in refused(answer, 400)["errors"]] == ["source_ids.1"]
    assert published(app) == 0


@pytest.mark.parametrize(
    ("body", "field"), [({}, "source_ids"), ({"source_ids": [1], "queue": "x"}, "queue")]
)
def test_missing_and_extra_fields_are_named(app, body, field):
    answer = app.test_client().post("/api/etl/parallel", json=body)
    assert [each["field"] for each in refused(answer, 400)["errors"]] == [field]
    raw = json.dumps({"source_ids": [1]}).replace("1", "1e999")
    answer = app.test_client().post("/api/etl/group", data=raw, content_type="application/json")
    assert refused(answer, 400)["errors"][0]["field"] == "source_ids.0"
    assert published(app) == 0


@pytest.mark.parametrize("path", ["parallel", "group"])
def test_unknown_sources_are_refused_with_the_valid_ones(app, path):
    answer = app.test_client().post(f"/api/etl/{path}", json={"source_ids": [1, 8]})
    document = refused(answer, 422)
    assert document["errors"][0]["field"] == "source_ids"
    assert "8; the ids are: 1, 2, 3." in document["detail"]
    assert published(app) == 0


@pytest.mark.parametrize("source_id", ["0", "4", "2147483648", "9" * 50])
def test_an_unknown_source_is_not_found(app, source_id):
    document = refused(app.test_client().post(f"/api/etl/single/{source_id}"), 404)
    assert document["detail"].endswith("the ids are: 1, 2, 3.")
    refused(app.test_client().get(f"/api/sources/{source_id}/records"), 404)
    assert published(app) == 0


def test_a_source_that_is_not_enabled_does_not_run(app):
    with db.session() as session:
        session.execute(update(Source).where(Source.id == 2).values(enabled=False))
    assert [each.id for each in sources.enabled()] == [1, 3]
    document = refused(app.test_client().post("/api/etl/single/2"), 404)
    assert document["detail"].endswith("the ids are: 1, 3.")
    with pytest.raises(JobFailedError, match="has the id 2"):
        pipeline.sync(2, "r")
    assert app.test_client().get("/api/sources/2/records").status_code == 200


def test_a_field_for_one_source_is_refused(app):
    answer = app.test_client().post("/api/etl/single/1", json={"x": 1})
    assert refused(answer, 400)["errors"][0]["field"] == "x"
    assert published(app) == 0


def test_the_table_has_one_row_a_key(app):
    for run in ("a", "b"):
        pipeline.sync(2, run)
    with db.session() as session:
        assert session.scalar(select(func.count()).select_from(SourceRecord)) == 12
