"""The OpenAPI document tells every route, and nothing else; its page asks nobody else."""

from __future__ import annotations

import re
import subprocess
import tomllib

import jsonschema
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31

from app import UNSEEN
from app.routes import openapi
from app.routes.document import facts_of
from tests.support import HOME, program_env, python

UNTOLD = {"static", "docs.static", "docs.document", "docs.page"}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    from app import create_app, settings

    env = {
        "APP_ENV": "testing",
        "STATE_DIR": str(tmp_path_factory.mktemp("state")),
        "CELERY_BROKER_URL": "memory://",
        "CELERY_RESULT_BACKEND": "cache+memory://",
        "OTEL_TRACES_EXPORTER": "none",
    }
    return create_app(settings.load(env))


@pytest.fixture(scope="module")
def document(app):
    return app.test_client().get("/openapi.json").get_json()


def operations(document):
    return {
        (path, method): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_every_route_is_told_and_every_told_route_exists(app, document):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in UNTOLD
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    told = set(operations(document))
    assert routes - told == set(), "not described: see app/routes/document.py"
    assert told - routes == set()


def test_the_document_is_openapi_3_1(document):
    jsonschema.validate(document, OPENAPI_31, jsonschema.Draft202012Validator)
    assert document["openapi"].startswith("3.1.")


def test_its_schemas_are_json_schema_and_their_references_lead_somewhere(document):
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', str(document).replace("'", '"')))
    assert names <= set(schemas)


def test_its_version_is_the_services(document):
    project = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]
    assert document["info"]["version"] == project["version"]


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_topic_that_is_explained(document):
    told = operations(document)
    assert len({each["operationId"] for each in told.values()}) == len(told)
    topics = {tag["name"] for tag in document["tags"]}
    for where, each in told.items():
        assert each["summary"], where
        assert set(each["tags"]) <= topics, where


def test_every_json_body_has_an_example_that_its_schema_allows(document):
    for where, each in operations(document).items():
        for media, content in each.get("requestBody", {}).get("content", {}).items():
            if media == "application/json":
                assert "example" in content, where
                validator(document, content["schema"]).validate(content["example"])


def validator(document, schema):
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})


def test_every_problem_is_a_problem_document(document):
    for where, each in operations(document).items():
        for status, answer in each["responses"].items():
            # Monitoring tells being unhealthy in its own words.
            if status >= "400" and not where[0].endswith("/monitoring/health"):
                assert list(answer["content"]) == ["application/problem+json"], where


def test_what_a_route_answers_fits_the_schema_of_problems(app, document):
    """An answer with fields in it, and one without."""
    client = app.test_client()
    problem = document["components"]["schemas"]["Problem"]
    for answer in (client.post("/api/send-email", json={}), client.get("/api/payments/none")):
        assert answer.mimetype == "application/problem+json"
        validator(document, problem).validate(answer.get_json())


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_the_page_loads_from_its_own_origin_only(app, path):
    answer = app.test_client().get(path)
    assert answer.status_code == 200
    page = answer.get_data(as_text=True)
    loaded = re.findall(r'(?:src|href|data-url)="([^"]+)"', page)
    assert len(loaded) == 4
    for each in loaded:
        assert each.startswith("/"), each
        with app.test_client().get(each) as asset:
            assert asset.status_code == 200, each
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_the_decorator_leaves_the_view_what_it_is(app):
    view = app.view_functions["health.health"]
    assert facts_of(view).topic == "Monitoring"
    assert view.__module__ == "app.routes.health"


def test_the_document_is_made_of_what_is_there(app):
    """Each time from the same routes the same document, in the same order."""
    assert str(openapi.document(app)) == str(openapi.document(app))


def test_a_worker_loads_no_route(tmp_path):
    """Each module costs memory in every pool process."""
    env = {
        "STATE_DIR": str(tmp_path),
        "CELERY_BROKER_URL": "memory://",
        "CELERY_RESULT_BACKEND": "cache+memory://",
        "OTEL_TRACES_EXPORTER": "none",
    }
    script = "import sys, app.worker; print(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run(
        python("-c", script), env=program_env(env), check=True, capture_output=True, text=True
    )
    loaded = done.stdout.splitlines()
    assert "app.worker" in loaded
    assert [each for each in loaded if each.startswith(("app.routes", "flask_openapi3"))] == []


def test_the_page_and_its_files_are_in_no_trace():
    """They would bury the traces that people look for; a job's request stays in them."""
    seen = re.compile("|".join(UNSEEN.split(",")))
    for path in ("/docs", "/docs/", "/docs/assets/css/swagger-ui.css", "/openapi.json"):
        assert seen.search(f"http://127.0.0.1:5000{path}"), path
    assert not seen.search("http://127.0.0.1:5000/api/send-email")
