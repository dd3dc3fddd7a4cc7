"""What a row must be like, and what is made of it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.etl import fetching, reading, rows
from app.services.etl.options import Options, parsed
from app.services.failures import JobFailedError

KINDS = ["", "text", "integer", "decimal", "boolean", "date", "datetime"]
OPTIONS = Options("id")
CELLS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.decimals(allow_nan=False).map(str)
    | st.dates().map(str)
    | st.datetimes().map(str)
)
DOCUMENTS = st.recursive(
    CELLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        ("  a b ", "", "a b"),
        (" ", "", None),
        ("", "integer", None),
        (None, "date", None),
        (2**63 - 1, "", 2**63 - 1),
        (2**63, "", "9223372036854775808"),
        ({"a": [" b ", 2**64, ""]}, "", {"a": ["b", "18446744073709551616", None]}),
        (5, "text", "5"),
        (" +12 ", "integer", 12),
        ("007", "integer", 7),
        ("2.50", "decimal", "2.50"),
        (3, "decimal", "3"),
        ("1e3", "decimal", "1000"),
        ("+.5", "decimal", "0.5"),
        ("-0.0", "decimal", "0"),
        ("YES", "boolean", True),
        (0, "boolean", False),
        ("2026-01-31", "date", "2026-01-31"),
        ("31.01.2026", "date:%d.%m.%Y", "2026-01-31"),
        ("2026-01-31T10:00:00+01:00", "datetime", "2026-01-31T09:00:00+00:00"),
        ("2026-01-31 10:00", "datetime", "2026-01-31T10:00:00+00:00"),
        ("2026-01-31T10:00:00Z", "datetime", "2026-01-31T10:00:00+00:00"),
    ],
)
def test_a_value_in_its_normal_form(value, kind, found):
    made = rows.converted(value, kind)
    assert (made, type(made)) == (found, type(found))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "text"),
        ([], "text"),
        ("1.0", "integer"),
        ("1_000", "integer"),
        ("²", "integer"),
        (2**63, "integer"),
        (True, "integer"),
        ("inf", "decimal"),
        ("nan", "decimal"),
        ("1e99", "decimal"),
        ("1" * 61, "decimal"),
        ("1,5", "decimal"),
        ({}, "boolean"),
        ("maybe", "boolean"),
        ("2026-02-30", "date"),
        ("30.01.2026", "date"),
        ("2026-01-30", "date:%d.%m.%Y"),
        ("0001-01-01T00:00:00+05:00", "datetime"),
        ([], "datetime"),
    ],
)
def test_a_value_of_another_type_is_refused(value, kind):
    with pytest.raises(ValueError, match=r"^"):
        rows.converted(value, kind)


@given(value=DOCUMENTS, kind=st.sampled_from(KINDS))
def test_a_normal_form_stays_as_it_is(value, kind):
    """Whatever comes is refused or made a value that is its own normal form and JSON."""
    try:
        made = rows.converted(value, kind)
    except ValueError:
        return
    assert rows.converted(made, kind) == made
    assert json.loads(json.dumps(made, allow_nan=False)) == made


@given(row=DOCUMENTS | st.dictionaries(st.sampled_from(["id", "a"]), DOCUMENTS))
def test_each_row_is_refused_for_a_reason_or_can_be_kept(row):
    """With a key that is a text, and no character that a database can't keep."""
    options = Options("id", types={"a": "decimal"})
    if rows.reason(row, options):
        return
    made = rows.normalised(row, options)
    key = rows.key(row, options)
    assert 0 < len(key) <= rows.LONGEST_KEY
    assert key == str(made["id"])
    assert "\0" not in key
    json.dumps(made, ensure_ascii=False, allow_nan=False).encode()
    assert not rows.reason(made, options)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "The row is no object."),
        ([1], "The row is no object."),
        ({}, "id: is missing."),
        ({"id": " "}, "id: is missing."),
        ({"id": None}, "id: is missing."),
        ({"id": True, "name": "a"}, "id: true is no key."),
        ({"id": [1], "name": "a"}, "id: [1] is no key."),
        ({"id": "a" * 256, "name": "a"}, "id: is longer than 255 characters."),
        ({"id": 1, "name": ""}, "name: is missing."),
        ({"id": 1}, "name: is missing."),
        ({"id": 1, "name": "a", "age": "x" * 60}, f'age: "{"x" * 39}... is no integer.'),
        ({"id": 1, "name": "a\0"}, "The row holds a NUL character."),
        ({"id": 1, "name": "a", "\0": 1}, "The row holds a NUL character."),
        ({"id": 1, "name": "\ud800"}, "The row holds bytes or characters that are no text."),
        ({"id": 1, "name": "a", "born": "1.2.26"}, 'born: "1.2.26" is no date.'),
    ],
    ids=lambda each: str(each)[:30].replace("\ud800", "?").replace("\0", "?"),
)
def test_a_reason_names_the_column(row, reason):
    types = {"age": "integer", "born": "date:%d.%m.%Y"}
    assert rows.reason(row, Options("id", required=("name",), types=types)) == reason


def test_a_backslash_is_no_nul():
    assert rows.reason({"id": "\\u0000"}, OPTIONS) == ""


def test_a_row_too_deep_is_refused():
    deep = {"id": 1}
    for _ in range(60):
        deep = {"id": 1, "a": deep}
    assert rows.reason(deep, OPTIONS) == "The row is nested deeper than 50 levels."


@given(st.lists(st.dictionaries(st.text(), CELLS, max_size=4), max_size=5))
def test_json_comes_as_it_was_written(documents):
    content = json.dumps({"a": {"b": documents}}).encode()
    assert [row.data for row in reading.from_json(content, "a.b")] == documents


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_with_a_point_are_texts(number):
    """As they are written: nothing is rounded."""
    [row] = reading.from_json(json.dumps([{"n": number}]).encode(), "")
    assert row.data == {"n": repr(number)}
    assert math.isclose(float(row.data["n"]), number)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content):
    for read in (reading.from_csv, lambda each: reading.from_json(each, "")):
        try:
            assert all(row.number >= 1 for row in read(content))
        except JobFailedError:
            continue


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/api/samples/orders", "http://127.0.0.1:5000/api/samples/orders"),
        ("https://example.com/a", "https://example.com/a"),
        ("//example.com/a", "http://127.0.0.1:5000//example.com/a"),
    ],
)
def test_a_path_is_one_of_the_service_itself(location, url):
    assert fetching.address(location, "http://127.0.0.1:5000/") == url


def test_all_options_may_be_given():
    given = {"key": "id", "list": "a", "required": ["b"], "types": {"b": "date:%Y"}}
    assert parsed(given) == Options("id", "a", ("b",), {"b": "date:%Y"})
