"""An image that a real worker makes small, and one whose process is killed on the way."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from app import create_app, settings
from tests.support import redis_server, wait_for
from tests.support.parts import Parts

pytestmark = pytest.mark.integration


def photo(size):
    file = io.BytesIO()
    Image.new("RGB", size, (30, 90, 150)).save(file, "PNG")
    return file.getvalue()


def test_a_worker_killed_on_the_way_leaves_one_set_of_thumbnails(tmp_path):
    """kill -9 of the pool process: the message runs again, and the original is gone in the end."""
    import psutil

    with redis_server(tmp_path) as (_, url):
        parts = Parts(tmp_path, url)
        app = create_app(settings.load({"APP_ENV": "testing", **parts.env}))
        client = app.test_client()
        with app.app_context(), parts.worker("-c", "1") as worker:
            data = {"file": (io.BytesIO(photo((6000, 4000))), "p.png"), "sizes": "900x900,64x64"}
            answer = client.post("/api/process-image", data=data).get_json()
            state = app.extensions["celery"].AsyncResult(answer["task_id"])
            wait_for(lambda: state.state in ("STARTED", "PROGRESS"), "the task runs")
            psutil.Process(worker.pid).children()[0].kill()
            result = state.get(timeout=20)
    folder = tmp_path / "state" / "files" / "images"
    kept = {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".part"}
    image_id = result["image_id"]
    assert kept == {f"{image_id}{end}" for end in (".json", "-900x900.png", "-64x64.png")}
    for each in result["thumbnails"]:
        with client.get(each["url"]) as download, Image.open(io.BytesIO(download.data)) as image:
            assert image.size == (each["width"], each["height"])
