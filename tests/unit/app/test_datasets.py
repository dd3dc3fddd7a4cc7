"""People see what an import has made."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.services import importer
from tests.unit.app.test_bad_input import refused

URL = "/api/datasets"


def add(app, tmp_path, content, name="people.csv"):
    path = tmp_path / name
    path.write_text(content)
    with app.app_context():
        return importer.run(path, name, 10, lambda *_: None).data_id


def test_a_dataset_is_shown_with_what_processing_found(eager, eager_app, tmp_path):
    data_id = add(eager_app, tmp_path, "name,age\nAda,36\nGrace\nEdsger,72\n")
    found = eager.get(f"{URL}/{data_id}").get_json()
    times = [datetime.fromisoformat(found.pop(each)) for each in ("created_at", "updated_at")]
    assert all(each.tzinfo == UTC for each in times)
    assert found == {
        "data_id": data_id,
        "name": "people.csv",
        "status": "completed",
        "columns": ["name", "age"],
        "rows": 2,
        "bad_rows": 1,
        "errors": [{"line": 3, "reason": "The row has 1 fields, the header 2."}],
        "statistics": [],
    }
    eager.post(f"/api/process-data/{data_id}")
    columns = eager.get(f"{URL}/{data_id}").get_json()["statistics"]
    assert [(each["name"], each["kind"], each["rows"]) for each in columns] == [
        ("name", "text", 2),
        ("age", "integer", 2),
    ]
    assert columns[1]["statistics"]["mean"] == 54


def test_the_newest_come_first_a_page_at_a_time(eager, eager_app, tmp_path):
    ids = [add(eager_app, tmp_path, f"name\n{n}\n") for n in range(5)]
    shown, address = [], f"{URL}?limit=2"
    while address:
        page = eager.get(address).get_json()
        shown.append([each["data_id"] for each in page["datasets"]])
        address = page["next"]
    assert shown == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]


def test_before_any_import_the_list_is_empty(client):
    assert client.get(URL).get_json() == {"datasets": [], "next": None}


@pytest.mark.parametrize("data_id", ["1", "0", "2147483648", "9" * 100])
def test_an_unknown_dataset_is_not_found(client, data_id):
    document = refused(client.get(f"{URL}/{data_id}"), 404)
    assert document["detail"].endswith("none is imported yet.")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1.5", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=1&limit=2", "limit"),
        ("before=0", "before"),
        ("before=2147483648", "before"),
        ("page=2", "page"),
    ],
)
def test_a_wrong_parameter_is_named(client, query, field):
    document = refused(client.get(f"{URL}?{query}"), 400)
    assert [each["field"] for each in document["errors"]] == [field]
