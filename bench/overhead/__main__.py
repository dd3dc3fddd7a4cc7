"""What the kit costs beside others, in CPU time of all processes, and what an outage adds.

python -m bench.overhead --python PEERS_PYTHON; `make bench-peers` makes the environment.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.overhead import (
    figures,
    kits,
    outage,
    parts,
    plot,
    readme,
    surroundings,
    table,
    turns,
)
from bench.overhead.fleet import Wanted

RESULTS = Path(__file__).parent.parent / "results"


def main() -> None:
    arguments = _parser().parse_args()
    chosen = [kit for kit in kits.ALL if kit.name in arguments.kits]
    python, skipped = arguments.python.absolute(), set(arguments.skip)
    result: dict[str, Any] = {"surroundings": surroundings.describe(python, chosen)}
    print(table.head(result["surroundings"]))
    if "turns" not in skipped:
        wanted = [Wanted(kit.name, kit) for kit in chosen]
        all_turns = turns.measure(python, wanted, arguments.blocks, arguments.rounds)
        rows = figures.rows(all_turns, [kit.name for kit in chosen])
        result |= {"rows": [asdict(row) for row in rows], "turns": [asdict(t) for t in all_turns]}
        print(table.overhead(rows, all_turns))
    if "parts" not in skipped:
        result["parts"] = parts.measure(python)
        print(table.budget(result["parts"]))
    if "outage" not in skipped:
        result["outage"] = outage.measure(python)
        print(table.outage(result["outage"]))
    _keep(arguments.results, result)
    if arguments.readme:
        readme.write(arguments.readme, result)


def _keep(folder: Path, result: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if "turns" in result:
        plot.draw(result, folder / "overhead.png")
    (folder / "overhead.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten to {folder}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.overhead")
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--blocks", type=int, default=2, help="how often programs start anew")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each kit in a block")
    parser.add_argument("--kits", nargs="*", default=[kit.name for kit in kits.ALL])
    parser.add_argument("--skip", nargs="*", default=[], choices=["turns", "parts", "outage"])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--readme", type=Path, help="write the table between its marks there")
    return parser


if __name__ == "__main__":
    main()
