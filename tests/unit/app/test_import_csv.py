"""A CSV file from the request to its rows, whatever it looks like and wherever it was stopped."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
from dataclasses import replace

import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError

from app import create_app, db, settings
from app.models import Dataset, DatasetBadRow, DatasetRow
from app.services import csvfile, datasets, importer, importfolder, uploads
from app.services.files import OutsideError
from app.tasks.imports import import_csv, progress_of
from tests.support import free_port
from tests.unit.app.test_bad_input import refused

URL = "/api/import-csv"
PEOPLE = b"id,name\n1,Ada\n2,Grace\n3,Edsger\n"


@pytest.fixture(scope="module")
def module_app(tmp_path_factory):
    """One for all tests here: migrating a database anew for each would take most of their time."""
    env = {
        "APP_ENV": "testing",
        "STATE_DIR": str(tmp_path_factory.mktemp("state")),
        "CELERY_BROKER_URL": "memory://",
        "CELERY_RESULT_BACKEND": "cache+memory://",
        "CELERY_TASK_ALWAYS_EAGER": "1",
        "OTEL_TRACES_EXPORTER": "none",
        "FOLLOWTHROUGH_STRICT": "1",
    }
    return create_app(settings.load(env))


@pytest.fixture
def app(module_app, tmp_path, monkeypatch):
    """It has no datasets and an import folder of its own."""
    with module_app.app_context(), db.session() as session:
        for table in (DatasetBadRow, DatasetRow, Dataset):
            session.execute(delete(table))
    change(module_app, monkeypatch, import_dir=tmp_path / "imports")
    return module_app


def change(app, monkeypatch, **values):
    changed = replace(app.extensions["settings"], **values)
    monkeypatch.setitem(app.extensions, "settings", changed)


@pytest.fixture
def folder(app):
    folder = app.extensions["settings"].import_dir
    folder.mkdir()
    return folder


def upload(app, content, name="people.csv", **fields):
    data = {"file": (io.BytesIO(content), name), **fields}
    return app.test_client().post(URL, data=data)


def imported(app, content, **fields):
    """What the task of an upload gave."""
    answer = upload(app, content, **fields)
    assert answer.status_code == 202, answer.get_json()
    status = app.test_client().get(answer.get_json()["status_url"]).get_json()
    assert status["state"] == "SUCCESS", status
    return status["result"]


def kept(app, data_id=1):
    """The rows as they are kept: pairs of a line and its cells."""
    rows = select(DatasetRow.line, DatasetRow.data).where(DatasetRow.dataset_id == data_id)
    with app.app_context(), db.session() as session:
        return [tuple(row) for row in session.execute(rows.order_by(DatasetRow.line))]


def cells(app, content):
    result = imported(app, content)
    return [list(data.values()) for _, data in kept(app, result["data_id"])]


def test_an_upload_becomes_a_dataset(app):
    """The answer and the result have the members that callers read."""
    answer = upload(app, PEOPLE, chunk_size="2")
    assert answer.get_json()["message"] == "CSV import queued"
    status = app.test_client().get(answer.headers["Location"]).get_json()
    assert status["result"] == {
        "status": "completed",
        "data_id": 1,
        "total_rows": 3,
        "processed": 3,
        "bad_rows": 0,
        "errors": [],
    }
    assert kept(app) == [
        (2, {"id": "1", "name": "Ada"}),
        (3, {"id": "2", "name": "Grace"}),
        (4, {"id": "3", "name": "Edsger"}),
    ]


def test_a_file_of_the_folder_is_imported_by_its_path(app, folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "people.csv").write_bytes(PEOPLE)
    document = {"file_path": "sub/people.csv", "options": {"chunk_size": 1}}
    answer = app.test_client().post(URL, json=document)
    assert answer.status_code == 202
    with app.app_context(), db.session() as session:
        dataset = session.scalars(select(Dataset)).one()
        assert (dataset.name, dataset.status) == ("sub/people.csv", "completed")
        assert (dataset.byte_offset, dataset.line) == (len(PEOPLE), 4)
    assert len(kept(app)) == 3


def test_the_same_content_is_the_same_dataset(app):
    """Also under another name, and in other chunks."""
    first = imported(app, PEOPLE)
    assert imported(app, PEOPLE, name="other.csv", chunk_size="1") == first
    assert imported(app, PEOPLE + b"4,Barbara\n")["data_id"] != first["data_id"]


def test_bad_rows_are_named_and_the_others_arrive(app):
    content = b'id,name\n1,Ada\n2\n3,"open\n4,Grace\n5,x,y\n6,nul\x00l\n7,"a"b\n8,Edsger'
    result = imported(app, content)
    assert (result["total_rows"], result["processed"], result["bad_rows"]) == (8, 3, 5)
    assert [data["name"] for _, data in kept(app)] == ["Ada", "Grace", "Edsger"]
    assert [each["line"] for each in result["errors"]] == [3, 4, 6, 7, 8]
    assert result["errors"][0]["reason"] == "The row has 1 fields, the header 2."
    assert "no CSV" in result["errors"][1]["reason"]
    assert "NUL" in result["errors"][3]["reason"]


def test_the_list_of_bad_rows_is_bounded_and_their_number_exact(app):
    most = datasets.MOST_BAD_ROWS
    result = imported(app, b"a,b\n" + b"1\n" * (most + 50) + b"1,2\n", chunk_size="30")
    assert (result["bad_rows"], result["processed"]) == (most + 50, 1)
    assert len(result["errors"]) == most
    with app.app_context(), db.session() as session:
        assert len(session.scalars(select(DatasetBadRow)).all()) == most


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "cp1251"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encoding_line_ends_and_delimiter_are_detected(encoding, end, delimiter):
    rows = [["name", "city"], *[["Jörg Müller", "Köln"], ["Zoë", "Genève"]] * 4]
    if encoding == "cp1251":
        rows = [["name", "city"], *[["Анна Каренина", "Москва"], ["Иван", "Санкт-Петербург"]] * 4]
    text = "".join(delimiter.join(row) + end for row in rows)
    assert read(text.encode(encoding))[0] == rows[1:]


def read(content):
    """The rows, and the places they end at."""
    file = io.BytesIO(content)
    found = csvfile.layout(file)
    lines = csvfile.Lines(file, found.encoding, found.start)
    rows, places = [], []
    for record in csvfile.records(lines, found.delimiter):
        rows.append(record.fields)
        places.append(lines.place)
    lines.let_go()
    return rows, places


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252", "shift_jis"])
def test_each_place_is_one_to_go_on_from(encoding):
    """Reading from a row's end gives the rows after it, also after line breaks in quotes."""
    word = "日本語テスト" if encoding == "shift_jis" else "Ærø ü"
    text = "a,b\r\n" + "".join(f'{n},"{word}\n\n""x"""\r\n\r\n' for n in range(20))
    content = text.encode(encoding)
    file = io.BytesIO(content)
    found = csvfile.layout(file)
    rows, places = read(content)
    assert rows == [[str(n), f'{word}\n\n"x"'] for n in range(20)]
    for number, place in enumerate(places, 1):
        lines = csvfile.Lines(file, found.encoding, place)
        assert [r.fields for r in csvfile.records(lines, found.delimiter)] == rows[number:]
        assert lines.place.offset == len(content)
        lines.let_go()


def test_a_row_in_another_encoding_is_bad_alone(app):
    """What comes after the sample may not be what the sample promised."""
    content = b"name\n" + b"Ada\n" + (b"x" * 999 + b"\n") * 66 + b"J\xf6rg\nGrace\n"
    file = io.BytesIO(content)
    progress = datasets.Progress(1, csvfile.layout(file), csvfile.Place(5, 1), 0, 0, False)
    chunks = list(importer.chunks(file, progress, 10_000))
    assert [bad for chunk in chunks for bad in chunk.bad] == [
        (69, "The row holds bytes that are no utf-8.")
    ]
    assert sum(len(chunk.rows) for chunk in chunks) == 68


def test_a_row_without_end_is_bad_alone():
    """However long it is, no more than a bounded part is in memory."""
    long = b"x" * (3 * csvfile.LONGEST_ROW)
    rows, _ = read(b"a,b\n1,2\n3," + long + b"\n4,5\n")
    assert rows == [["1", "2"], [], ["4", "5"]]


def test_a_file_of_open_quotes_is_not_read_again_from_each_line(monkeypatch):
    """The characters read stay in proportion to the file, however its quotes are placed."""
    read_lines = []
    real = csvfile.Lines._read

    def counted(lines):
        text = real(lines)
        read_lines.append(len(text))
        return text

    monkeypatch.setattr(csvfile.Lines, "_read", counted)
    monkeypatch.setattr(csvfile, "LONGEST_ROW", 10_000)
    monkeypatch.setattr(csvfile, "SHORTEST_LIMIT", 100)
    content = b"a,b,c\n" + b'a",x,"c\n' * 3000 + b"1,2,3\n"
    rows, _ = read(content)
    assert len(rows) == 3001
    assert rows[-1] == ["1", "2", "3"]
    assert sum(read_lines) < 20 * len(content)


def test_one_column_needs_no_delimiter(app):
    assert cells(app, b"name\nAda\nGrace\n") == [["Ada"], ["Grace"]]


def test_column_names_are_unique_and_not_empty():
    assert csvfile.column_names(["", "a", "a", " a ", "a_2"]) == [
        "column_1",
        "a",
        "a_2",
        "a_3",
        "a_2_2",
    ]


def test_a_chunk_of_long_rows_ends_early(monkeypatch):
    """A row's length, not only their number, bounds what is in memory."""
    monkeypatch.setattr(importer, "LARGEST_CHUNK", 8000)
    file = io.BytesIO(b"a\n" + (b"x" * 1000 + b"\n") * 20)
    progress = datasets.Progress(1, csvfile.layout(file), csvfile.Place(2, 1), 0, 0, False)
    assert len(list(importer.chunks(file, progress, 1000))) == 3


class Stopped(BaseException):
    """Stands for a kill: nothing of ours catches it."""


def stop_after(commits):
    def committed(_progress, _lines):
        nonlocal commits
        commits -= 1
        if commits <= 0:
            raise Stopped

    return committed


def stop_inside(monkeypatch, chunks):
    """Break the transaction of a chunk after its rows were written, before it is committed."""
    real, left = datasets._insert, [chunks]

    def insert(*args):
        real(*args)
        left[0] -= 1
        if left[0] <= 0:
            raise Stopped

    monkeypatch.setattr(datasets, "_insert", insert)


def numbers(count=60):
    rows = (f'{n},"line\n{n}"\n' if n % 7 else f"{n}\n" for n in range(count))
    return ("id,text\n" + "".join(rows)).encode()


def stopped_again_and_again(path, chance, monkeypatch):
    """Three stops at a random commit, inside or after its transaction, then a run to the end."""
    for _ in range(3):
        commits, size = chance.randint(1, 3), chance.randint(1, 5)
        with monkeypatch.context() as patch:
            if chance.random() < 0.5:
                stop_inside(patch, commits)
            with pytest.raises(Stopped):
                importer.run(path, path.name, size, stop_after(commits))
    return importer.run(path, path.name, chance.randint(5, 20), lambda *_: None)


def test_an_import_stopped_in_process_goes_on_where_it_was(app, folder, monkeypatch):
    """By an exception, 40 imports three times each; tests/integration kills real processes."""
    chance = random.Random(4)  # noqa: S311  not for secrets
    path = folder / "numbers.csv"
    for number in range(40):
        path.write_bytes(numbers() + f"60,import {number}\n".encode())
        with app.app_context():
            progress = stopped_again_and_again(path, chance, monkeypatch)
        assert (progress.total_rows, progress.bad_rows) == (61, 9)
        rows = [int(data["id"]) for _, data in kept(app, progress.data_id)]
        assert rows == [n for n in range(60) if n % 7] + [60]


@pytest.mark.parametrize("commits", [1, 2, 99])
def test_two_imports_of_one_file_at_once_write_each_row_once(app, folder, commits):
    """The first goes on from where the second has come, also from its end; the counts are right."""
    path = folder / "numbers.csv"
    path.write_bytes(numbers())
    others = []

    def other(_progress, _lines):
        if not others:
            others.append(path)
            with contextlib.suppress(Stopped):
                importer.run(path, path.name, 7, stop_after(commits))

    with app.app_context():
        progress = importer.run(path, path.name, 4, other)
    assert (progress.total_rows, progress.bad_rows, progress.completed) == (60, 9, True)
    assert len(kept(app)) == 51


def test_a_file_that_changes_meanwhile_is_no_dataset_of_its_hash(app, folder):
    path = folder / "numbers.csv"
    path.write_bytes(numbers())

    def change(_progress, _lines):
        with path.open("ab") as file:
            file.write(b"61,more\n")

    with app.app_context(), pytest.raises(csvfile.BadFileError, match="changed"):
        importer.run(path, path.name, 4, change)


def test_a_file_that_is_gone_fails_for_good(app, folder):
    """Trying again would not help, and the task's status says so."""
    with app.app_context():
        ended = import_csv.apply(kwargs={"file_path": "gone.csv"})
    assert str(ended.result) == "gone.csv: Is no file in the import folder."
    assert ended.result.details == {"retryable": False}


def test_progress_is_shown_once_a_percent(app, folder, monkeypatch):
    shown = []
    monkeypatch.setattr(import_csv, "update_state", lambda **kw: shown.append(kw))
    (folder / "n.csv").write_bytes(b"id\n" + b"1\n" * 200)
    with app.app_context():
        import_csv.apply(["n.csv", {"chunk_size": 1}])
    assert [each["state"] for each in shown] == ["PROGRESS"] * 101
    assert shown[-1]["meta"] == {"processed": 200, "current": 200, "total": 200, "percent": 100}


@pytest.mark.parametrize(
    ("rows", "lines", "percent"), [(0, 0, 0), (0, 11, 0), (5, 11, 50), (10, 10, 100), (3, 1, 100)]
)
def test_the_percentage_is_at_most_100(rows, lines, percent):
    progress = datasets.Progress(1, None, None, rows, rows // 2, False)
    shown = progress_of(progress, lines)
    assert (shown["percent"], shown["processed"]) == (percent, rows - rows // 2)


def wrong_fields(response):
    return [each["field"] for each in refused(response, 400)["errors"]]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.csv", "none.csv", ".", "a\0b", "x" * 999, "link.csv", "d/s"]
)
def test_a_path_outside_the_folder_is_refused(app, folder, path):
    """Also by a symbolic link to a file or to a folder."""
    (folder.parent / "secret.csv").write_bytes(PEOPLE)
    (folder.parent / "s").write_bytes(PEOPLE)
    (folder / "link.csv").symlink_to(folder.parent / "secret.csv")
    (folder / "d").symlink_to(folder.parent)
    assert wrong_fields(app.test_client().post(URL, json={"file_path": path})) == ["file_path"]
    with pytest.raises(OutsideError):
        importfolder.find(folder, path)


def test_a_device_or_pipe_is_refused(app, folder):
    os.mkfifo(folder / "pipe.csv")
    answer = app.test_client().post(URL, json={"file_path": "pipe.csv"})
    assert wrong_fields(answer) == ["file_path"]


@pytest.mark.parametrize("size", [0, -1, 10_001, 10**30, 1.5, "10", None, True, [1]])
def test_a_chunk_size_out_of_bounds_is_refused(app, folder, size):
    (folder / "people.csv").write_bytes(PEOPLE)
    document = {"file_path": "people.csv", "chunk_size": size}
    assert wrong_fields(app.test_client().post(URL, json=document)) == ["chunk_size"]
    document = {"file_path": "people.csv", "options": {"chunk_size": size}}
    assert wrong_fields(app.test_client().post(URL, json=document)) == ["options.chunk_size"]


@pytest.mark.parametrize("size", ["0", "-1", "10001", "9" * 5000, "1.5", "", "ten", "²"])
def test_a_form_s_chunk_size_out_of_bounds_is_refused(app, size):
    assert wrong_fields(upload(app, PEOPLE, chunk_size=size)) == ["chunk_size"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"size": 1}, "options.size"),
        ({"chunk_size": 5, "name": "x"}, "options.name"),
        ([], "options"),
        ("5", "options"),
        (None, "options"),
    ],
)
def test_options_are_refused_by_name(app, folder, options, field):
    """In JSON and in a form."""
    (folder / "people.csv").write_bytes(PEOPLE)
    document = {"file_path": "people.csv", "options": options}
    assert wrong_fields(app.test_client().post(URL, json=document)) == [field]
    assert wrong_fields(upload(app, PEOPLE, options=json.dumps(options))) == [field]


@pytest.mark.parametrize("text", ["", "{", "NaN", "[" * 60_000, "9" * 5000])
def test_a_form_s_options_must_be_json(app, text):
    assert wrong_fields(upload(app, PEOPLE, options=text)) == ["options"]


def test_a_chunk_size_is_given_once(app, folder):
    (folder / "people.csv").write_bytes(PEOPLE)
    document = {"file_path": "people.csv", "chunk_size": 5, "options": {"chunk_size": 5}}
    assert wrong_fields(app.test_client().post(URL, json=document)) == ["options.chunk_size"]


@pytest.mark.parametrize(
    "options", [{"size": 1}, {"chunk_size": "1"}, {"chunk_size": 0}, {"chunk_size": True}]
)
def test_a_task_called_with_wrong_options_names_them(app, folder, options):
    (folder / "people.csv").write_bytes(PEOPLE)
    with app.app_context():
        error = import_csv.apply(["people.csv", options]).result
    assert str(error).startswith(f"options.{next(iter(options))}: ")
    assert error.details == {"retryable": False}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x89PNG\r\n\x1a\n\0\0", b'"a,b\n1,2\n'])
def test_a_file_that_is_no_csv_is_refused(app, folder, content):
    assert wrong_fields(upload(app, content)) == ["file"]
    (folder / "bad.csv").write_bytes(content)
    answer = app.test_client().post(URL, json={"file_path": "bad.csv"})
    assert wrong_fields(answer) == ["file_path"]


def test_too_many_columns_are_refused(app):
    assert wrong_fields(upload(app, b"a," * 1000 + b"a\n")) == ["file"]


def test_an_upload_without_a_file_names_it(app):
    client = app.test_client()
    answer = client.post(URL, data={"chunk_size": "5"}, content_type="multipart/form-data")
    assert wrong_fields(answer) == ["file"]
    two = {"file": [(io.BytesIO(PEOPLE), "a.csv"), (io.BytesIO(PEOPLE), "b.csv")]}
    assert wrong_fields(client.post(URL, data=two)) == ["file"]


def test_an_unknown_field_is_named(app):
    assert wrong_fields(upload(app, PEOPLE, queue="other")) == ["queue"]
    extra = {"other": (io.BytesIO(b"x"), "x.csv")}
    assert wrong_fields(upload(app, PEOPLE, **extra)) == ["other"]
    assert wrong_fields(upload(app, PEOPLE, chunk_size=["1", "2"])) == ["chunk_size"]


def test_an_upload_may_be_larger_than_a_json_body(app):
    """It has a limit of its own, and JSON on the same route keeps the usual one."""
    content = b"id\n" + (b"1" * 100_000 + b"\n") * 15
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    raw = head + content + b"\r\n--x--\r\n"
    kind = "multipart/form-data; boundary=x"
    assert app.test_client().post(URL, data=raw, content_type=kind).status_code == 202
    document = {"file_path": "x" * 1024**2}
    refused(app.test_client().post(URL, json=document), 413)


@pytest.mark.parametrize("size", [101, 200_000])
def test_an_upload_over_its_limit_is_refused(app, monkeypatch, size):
    """Also one that is only little over it."""
    change(app, monkeypatch, import_max_bytes=100)
    refused(upload(app, b"a" * size), 413)
    assert not app.extensions["settings"].import_dir.exists()


def test_an_upload_of_unknown_length_is_refused(app):
    kind = "multipart/form-data; boundary=x"
    headers = {"Content-Type": kind, "Transfer-Encoding": "chunked"}
    answer = app.test_client().post(URL, input_stream=io.BytesIO(b"--x--"), headers=headers)
    refused(answer, 411)


@pytest.mark.parametrize(
    "name", ["../../evil.csv", "/etc/evil", "..\\evil.csv", "a\tb", "x" * 999], ids=range(5)
)
def test_an_upload_s_name_is_never_a_path(app, monkeypatch, name):
    """It is kept under the hash of its content, with no half file beside it."""
    kept_as = []
    monkeypatch.setattr(uploads, "let_go", lambda _folder, inside: kept_as.append(inside))
    imported(app, PEOPLE, name=name)
    assert files_of(app) == set(kept_as)
    assert re.fullmatch("uploads/[0-9a-f]{64}-[0-9a-f]{32}", kept_as[0])
    with app.app_context(), db.session() as session:
        shown = session.scalars(select(Dataset.name)).one()
    assert "/" not in shown
    assert len(shown) <= 255


def files_of(app):
    folder = app.extensions["settings"].import_dir
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def saved(app, content=PEOPLE):
    return uploads.save(io.BytesIO(content), app.extensions["settings"].import_dir)


def test_an_upload_is_gone_when_it_is_imported(app):
    """And a task that is delivered once more gives the same result."""
    path = saved(app)
    with app.app_context():
        first = import_csv.apply([path, {"name": "people.csv"}]).get()
        assert files_of(app) == set()
        assert import_csv.apply([path, {"name": "people.csv"}]).get() == first
    assert first["processed"] == 3


def test_an_upload_is_gone_when_its_import_failed_for_good(app):
    path = saved(app, b"")
    with app.app_context():
        assert str(import_csv.apply([path]).result).endswith("Is empty.")
    assert files_of(app) == set()


def test_an_upload_stays_until_the_last_try(app, monkeypatch):
    """A database that is away for a while takes no file along."""
    path, seen = saved(app), []

    def away(*_args):
        seen.append(files_of(app))
        raise OperationalError("", {}, Exception())

    monkeypatch.setattr(importer, "run", away)
    with app.app_context():
        error = import_csv.apply([path]).result
    assert error.details == {"retryable": True, "retries_exhausted": True}
    assert seen == [{path}] * 6
    assert files_of(app) == set()


def test_two_imports_of_one_content_have_a_file_each(app):
    """Whichever ends first, the other one's stays."""
    first, second = saved(app), saved(app)
    with app.app_context():
        import_csv.apply([first])
        assert files_of(app) == {second}
        assert import_csv.apply([second]).get()["processed"] == 3


def test_a_file_of_the_folder_stays(app, folder):
    (folder / "people.csv").write_bytes(PEOPLE)
    with app.app_context():
        import_csv.apply(["people.csv"])
    assert files_of(app) == {"people.csv"}


def test_an_upload_of_another_caller_can_t_be_named(app, folder):
    path = saved(app)
    (folder / "link.csv").symlink_to(folder / path)
    for wanted in (path, "link.csv"):
        assert wrong_fields(app.test_client().post(URL, json={"file_path": wanted})) == [
            "file_path"
        ]


def test_an_upload_that_can_t_be_queued_is_not_kept(make_app):
    broker = f"redis://127.0.0.1:{free_port()}/0"
    app = make_app(CELERY_BROKER_URL=broker)
    assert upload(app, PEOPLE).status_code == 503
    assert files_of(app) == set()
