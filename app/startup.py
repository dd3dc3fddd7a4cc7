"""How programs that servers load start: what is wrong on stderr, a line each, then an exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from app import create_app, settings
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
        _exit(error, WRONG_SETTINGS)


def app_or_exit(role: Role) -> Flask:
    """The application; without the database that it must migrate, exit code 3."""
    loaded = settings_or_exit()
    try:
        return create_app(loaded, role=role)
    except SettingsError as error:
        _exit(error, NOT_BOOTED)


def _exit(error: SettingsError, code: int) -> NoReturn:
    sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
    sys.exit(code)
