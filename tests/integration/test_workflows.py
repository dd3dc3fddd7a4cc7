"""All ids of a workflow are known before it is published, with a real worker running it."""

from __future__ import annotations

import pytest
from celery import chain, chord, group
from sqlalchemy import select

from app import create_app, db, registry, settings
from app.models import TaskRecord
from tests.support import redis_server, wait_for
from tests.support.jobs import noted, step
from tests.support.parts import Parts

pytestmark = pytest.mark.integration

SHAPES = {
    "task": lambda s: s(),
    "chain": lambda s: chain(s(), s(), s()),
    "group": lambda s: group(s(), s(), s()),
    "chord": lambda s: chord([s(), s()], s()),
    "chain with a group": lambda s: chain(s(), group(s(), s()), s()),
    "chain that ends in a group": lambda s: chain(s(), group(s(), s())),
    "chain that begins with a group": lambda s: chain(group(s(), s()), s(), s()),
    "group of chains": lambda s: group(chain(s(), s()), chain(s(), s())),
    "chord of chains": lambda s: chord([chain(s(), s()), s()], chain(s(), s())),
    "group in a group": lambda s: group(group(s(), s()), s()),
    "chain of chords": lambda s: chain(chord([s(), s()], s()), chord([s(), s()], s())),
}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    directory = tmp_path_factory.mktemp("workflows")
    with redis_server(directory) as (_, url):
        parts = Parts(directory, url)
        with parts.worker("-P", "solo", "--include", "tests.support.jobs"):
            yield parts


@pytest.fixture(scope="module")
def app(parts):
    app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
    with app.app_context():
        yield app


def known():
    with db.session() as session:
        return set(session.scalars(select(TaskRecord.id)))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_task_of_a_workflow_is_known_before_it_runs(app, tmp_path, shape):
    """What is known is what ran: no id is missing, and none stays pending for ever."""
    before, made = known(), []

    def signature():
        made.append(step.s(directory=str(tmp_path)))
        return made[-1]

    registry.publish(SHAPES[shape](signature))
    ids = known() - before
    assert len(ids) == len(made)
    ran = wait_for(lambda: len(r := noted(tmp_path, "ran")) >= len(ids) and r, "all ran")
    assert sorted(ran) == sorted(ids)
    assert {app.extensions["celery"].AsyncResult(each).get(timeout=10) for each in ids} == {1}
