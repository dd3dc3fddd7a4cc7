"""The `followthrough` command."""

from __future__ import annotations

import argparse
import sys

from . import quarantine_cli
from .settings import Settings, SettingsError, describe, load

WRONG = 2


def main(argv: list[str] | None = None) -> int:
    """Run a command; the exit code, 2 for wrong settings."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load(Settings)
    except SettingsError as error:
        lines = ["followthrough: wrong settings:", *(f"  {one}" for one in error.problems)]
        sys.stderr.write("\n".join([*lines, ""]))
        return WRONG
    if arguments.command == "agent":
        return _agent(settings, until_idle=arguments.until_idle)
    if arguments.command == "quarantine":
        return quarantine_cli.run(settings.state_dir, arguments)
    return {"settings": _settings, "telemetry": _status}[arguments.command](settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="followthrough", description="Telemetry for Flask and Celery."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    agent = commands.add_parser(
        "agent", help="send spans, serve metrics and deliver alerts for this host"
    )
    agent.add_argument("--until-idle", action="store_true", help="end when no process is left")
    telemetry = commands.add_parser("telemetry", help="say what became of all that was recorded")
    telemetry.add_argument("what", choices=["status"])
    quarantine_cli.add_to(commands)
    commands.add_parser("settings", help="show every setting, its value and where it came from")
    return parser


def _agent(settings: Settings, *, until_idle: bool) -> int:
    from .agent import run  # noqa: PLC0415  (the other command needs no server)

    return run(settings, until_idle=until_idle)


def _status(settings: Settings) -> int:
    from .recorder.account import REASONS, by_kind  # noqa: PLC0415  (the other commands need no rings)

    kinds = by_kind(settings.state_dir)
    reasons = [why for why in REASONS if any(each.dropped[why] for each in kinds.values())]
    rows = [
        ("", *kinds),
        ("produced", *(each.produced for each in kinds.values())),
        ("exported", *(each.exported for each in kinds.values())),
        ("dropped", *(sum(each.dropped.values()) for each in kinds.values())),
        *(
            (f"  {reason}", *(each.dropped[reason] for each in kinds.values()))
            for reason in reasons
        ),
        ("held", *(each.held for each in kinds.values())),
    ]
    lines = [f"{name:<14}" + "".join(f"{cell:>12}" for cell in cells) for name, *cells in rows]
    sys.stdout.write("\n".join([f"what was recorded in {settings.state_dir}", *lines, ""]))
    return 0


def _settings(settings: Settings) -> int:
    rows = [(row.env, row.value, row.source, row.doc) for row in describe(settings)]
    table = [("SETTING", "VALUE", "FROM", "MEANING"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), doc])
        for *cells, doc in table
    ]
    sys.stdout.write("\n".join([*lines, ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
