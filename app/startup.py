"""How programs that servers load read the settings: all wrong ones on stderr, then exit code 2."""

from __future__ import annotations

import sys

from app import settings
from app.settings import Settings, SettingsError


def settings_or_exit() -> Settings:
    """The settings of this process; with wrong ones it ends here, with exit code 2."""
    try:
        return settings.load()
    except SettingsError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        sys.exit(2)
