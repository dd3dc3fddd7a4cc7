"""Flower is never open to everybody: who gets in, and how its own options are given."""

from __future__ import annotations

import os
import secrets
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path

from app.settings import Settings, SettingsError

HOST = "127.0.0.1"
VARIABLE = "FLOWER_BASIC_AUTH"
USER = "flower"
# Each says who may come in; any of them is the user's own choice.
CHOICES = ("basic_auth", "auth", "auth_provider")


def protect(settings: Settings, argv: Sequence[str], environ: MutableMapping[str, str]) -> None:
    """Let the Flower of this process ask for a password, unless it was told whom to let in.

    Raises SettingsError in production, where the password is to be chosen.
    """
    if chosen(argv, environ):
        return
    if settings.env == "production":
        raise SettingsError([f"{VARIABLE}: Flower needs it in production; set user:password"])
    # Flower reads it from there; on a command line everybody could read it.
    environ[VARIABLE] = kept(folder(settings) / "credentials")


def chosen(argv: Sequence[str], environ: MutableMapping[str, str]) -> bool:
    """Whether an option or a variable says who may come in."""
    given = [arg.lstrip("-").replace("-", "_").partition("=") for arg in argv]
    options = {name: value for name, _, value in given}
    return any(options.get(name) or environ.get(f"FLOWER_{name.upper()}") for name in CHOICES)


def kept(file: Path) -> str:
    """The user and password in this file, made once; only its owner may read it."""
    with suppress(FileNotFoundError):
        return file.read_text().strip()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(f"{USER}:{secrets.token_urlsafe(18)}\n")
    # Of two that start at the same time the first one's holds.
    with suppress(FileExistsError):
        file.hardlink_to(draft)
    draft.unlink()
    return file.read_text().strip()


def folder(settings: Settings) -> Path:
    """Where Flower's password and its history are."""
    return settings.state_dir / "flower"


def options(settings: Settings) -> tuple[str, ...]:
    """Flower's options as a service: its history outlives it."""
    return (
        f"--address={HOST}",
        f"--port={settings.flower_port}",
        "--persistent=True",
        f"--db={folder(settings) / 'history'}",
        # It also saves as it ends; a kill loses a minute.
        "--state_save_interval=60000",
    )
