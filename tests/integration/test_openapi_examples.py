"""Each example of the OpenAPI document works when it is sent to a new service."""

from __future__ import annotations

import io

import pytest
import requests
from PIL import Image

from tests.support.service import running_service

pytestmark = pytest.mark.integration

PEOPLE = b"name,age\nAda,36\nGrace,85\n"
# What an answer before has to tell, or a worker to do.
WITHOUT_EXAMPLE = {"task_id", "report_id", "image_id"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A new one, with the file in its import folder that the documentation puts there."""
    state = tmp_path_factory.mktemp("state")
    (state / "imports").mkdir()
    (state / "imports" / "people.csv").write_bytes(PEOPLE)
    with running_service(state) as (service, _):
        imported = service.request("/api/import-csv", {"file_path": "people.csv"})
        service.ended(imported.body["task_id"])
        yield service


def operations(document):
    # Those that make something go before those that show it.
    for method in ("post", "get"):
        for path, item in document["paths"].items():
            if method in item:
                yield path, method, item[method]


def address(path, operation):
    """The path with its parameters' examples; None if one has none."""
    for each in operation["parameters"]:
        if each["in"] == "path":
            if "example" not in each:
                assert each["name"] in WITHOUT_EXAMPLE, path
                return None
            path = path.replace(f"{{{each['name']}}}", str(each["example"]))
    return path


def bodies(document, operation):
    """What to send: nothing, the example as JSON, or a form as the page fills it in."""
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        yield {"json": content["application/json"]["example"]}
    if form := content.get("multipart/form-data"):
        yield {"files": {"file": a_file(operation)}, "data": defaults(document, form)}
    if not content:
        yield {}


def defaults(document, form):
    name = form["schema"]["$ref"].rpartition("/")[2]
    fields = document["components"]["schemas"][name]["properties"]
    return {name: field["default"] for name, field in fields.items() if "default" in field}


def a_file(operation):
    if "image" not in operation["operationId"]:
        return ("people.csv", PEOPLE)
    picture = io.BytesIO()
    Image.new("RGB", (40, 30)).save(picture, "PNG")
    return ("a.png", picture.getvalue())


def test_each_example_is_answered_with_the_success_that_the_document_tells(service):
    document = service.request("/openapi.json").body
    sent, wrong = 0, []
    for path, method, operation in operations(document):
        where = address(path, operation)
        if where is None or operation.get("security"):
            continue
        for body in bodies(document, operation):
            with requests.request(method, service.url("web", where), timeout=10, **body) as answer:
                sent += 1
                told = [status for status in operation["responses"] if status < "400"]
                if str(answer.status_code) not in told:
                    wrong.append((method, where, answer.status_code, answer.text))
    assert not wrong
    assert sent > 25
