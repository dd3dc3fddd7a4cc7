"""Thumbnails of images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task
from flask import current_app

from app.services import files, images, thumbnails, uploads
from app.services.failures import JobFailedError
from app.services.files import OutsideError

if TYPE_CHECKING:
    from app.services.images import Size
    from app.services.thumbnails import Original, Thumbnail


@shared_task(name="tasks.process_image", bind=True, soft_time_limit=120, time_limit=150)
def process_image(self: Task, file_path: str, sizes: list[str]) -> dict[str, Any]:
    """Make a thumbnail of each size, as in 128x128; run again, it makes the same.

    `file_path` is an upload in the folder of images; it is deleted at the end.
    """
    folder: Path = current_app.extensions["settings"].files_dir
    with uploads.held(folder / thumbnails.FOLDER, file_path):
        try:
            return _processed(self, file_path, [images.size(each) for each in sizes])
        except (ValueError, OutsideError, images.BadImageError, images.TooLargeError) as error:
            raise JobFailedError(str(error)) from error


def _processed(task: Task, file_path: str, sizes: list[Size]) -> dict[str, Any]:
    settings = current_app.extensions["settings"]
    folder, image_id = settings.files_dir, uploads.content(file_path)
    if image_id is None:
        raise OutsideError(f"{file_path}: Is no upload in the folder of images.")
    try:
        path = files.find(folder / thumbnails.FOLDER, file_path)
    except OutsideError:
        # A run before this one may have ended and deleted it.
        if before := thumbnails.made_before(image_id, sizes, folder):
            return result(*before)
        raise
    made = []
    for each in thumbnails.make(path, image_id, sizes, folder, settings.image_max_pixels):
        made.append(each)
        task.update_state(state="PROGRESS", meta=progress_of(len(made), len(sizes)))
    original = thumbnails.known(image_id, folder)
    if original is None:
        raise OutsideError("The thumbnails are gone.")
    return result(original, made)


def progress_of(current: int, total: int) -> dict[str, int]:
    return {"current": current, "total": total, "percent": 100 * current // total}


def result(original: Original, made: list[Thumbnail]) -> dict[str, Any]:
    return {
        "status": "completed",
        "image_id": original.image_id,
        "width": original.width,
        "height": original.height,
        "thumbnails": [asdict(each) for each in made],
    }
