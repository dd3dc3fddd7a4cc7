"""How programs that servers load start: what is wrong on stderr, a line each, then an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from app import create_app, flower, queues, settings
from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from flask import Flask

    from app import Role

WRONG_SETTINGS = 2
# Gunicorn ends with a worker that ends with this code, and starts any other again for ever.
NOT_BOOTED = 3


def settings_or_exit() -> Settings:
    """The settings of this process; with wrong ones it ends here, with exit code 2."""
    try:
        return settings.load()
    except SettingsError as error:
        _exit(error.problems, WRONG_SETTINGS)


def app_or_exit(role: Role) -> Flask:
    """The application; without the database that it must migrate, exit code 3."""
    loaded = settings_or_exit()
    if role == "flower":
        _protect_flower(loaded)
    try:
        app = create_app(loaded, role=role)
    except SettingsError as error:
        _exit(error.problems, NOT_BOOTED)
    if role == "worker":
        _check_the_queues_it_is_given()
    return app


def _protect_flower(loaded: Settings) -> None:
    try:
        flower.protect(loaded, sys.argv, os.environ)
    except SettingsError as error:
        _exit(error.problems, WRONG_SETTINGS)


def _check_the_queues_it_is_given() -> None:
    from celery.signals import celeryd_init  # noqa: PLC0415

    celeryd_init.connect(_refuse_unknown_queues, dispatch_uid="app.queues", weak=False)


def _refuse_unknown_queues(options: Mapping[str, Any], **_: Any) -> None:
    for option, member in (("-Q", "queues"), ("-X", "exclude_queues")):
        given = options.get(member) or ()
        names = given.split(",") if isinstance(given, str) else given
        if problem := queues.problem(names):
            _exit([f"{option}: {problem}"], WRONG_SETTINGS)


def _exit(problems: list[str], code: int) -> NoReturn:
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    sys.exit(code)
