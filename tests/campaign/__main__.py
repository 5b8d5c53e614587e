"""The whole campaign: ``python -m tests.campaign``; docs/reliability.md holds what it printed."""

import argparse
import json
import random
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.campaign.commands import COMMANDS, Command
from tests.campaign.driver import Campaign, Found, Layout, Server, template, thinned
from tests.campaign.faults import KINDS

SECOND = Path("/dev/shm")
"""A second file system, in memory; the first is that of the temporary folder."""


def main() -> None:
    """Run the campaign, or the share of it that the options name, and print its matrix."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--commands", nargs="*", help="of these names; default: all")
    parser.add_argument("--layouts", nargs="*", default=["one", "two"], help="one or two file systems, or both")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then; faults are in random order")
    parser.add_argument("--every-write", action="store_true", help="every write of a file, not three of many in a row")
    parser.add_argument("--repeat-every", type=int, default=1, help="of faults without a kill, repeat only every n-th")
    parser.add_argument("--jobs", type=int, default=1, help="commands at once")
    parser.add_argument("--template", type=Path, help="a folder as a campaign makes it at its start, to save the time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--record",
        type=Path,
        help="append each finding to this file, a JSON object a line; faults that it holds are left out",
    )
    parser.add_argument("--matrix", type=Path, nargs="*", help="run nothing; print the matrix of these records")
    options = parser.parse_args()
    if options.matrix is not None:
        print_matrix([json.loads(line) for path in options.matrix for line in path.read_text().splitlines()])
        return
    records: list[dict[str, Any]] = []
    server = Server()
    deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory(dir=SECOND) as second:
        made = options.template or template(server, Path(first) / "made")
        chosen = [one for one in COMMANDS if not options.commands or one.name in options.commands]

        def learn(command: Command) -> Campaign:
            campaign = _campaign(server, "one", Path(first), Path(second), f"plan of {command.name}", made)
            try:
                campaign.boundaries(command)
            except AssertionError as error:
                print(f"left out: {error}", flush=True)
            return campaign

        with ThreadPoolExecutor(options.jobs) as pool:
            learned = dict(zip([one.name for one in chosen], pool.map(learn, chosen), strict=True))
        plan: list[tuple[str, Command, int, str, int]] = []
        for command in chosen:
            passed = learned[command.name].passed.get(command.name, [])
            numbers = range(1, len(passed) + 1) if options.every_write else thinned(command, passed)
            plan += [
                (layout, command, at, kind, len(passed))
                for layout in options.layouts
                for at in numbers
                for kind in options.kinds
            ]
        random.Random(options.seed).shuffle(plan)
        print(f"{len(plan)} faults planned", flush=True)
        if options.record is not None and options.record.is_file():
            records += [json.loads(line) for line in options.record.read_text().splitlines()]
            done = {(one["layout"], one["command"], one["at"], one["kind"]) for one in records}
            plan = [one for one in plan if (one[0], one[1].name, one[2], one[3]) not in done]
            print(f"{len(plan)} of them left", flush=True)
        left = iter(enumerate(plan))
        taking = threading.Lock()

        def work(name: str) -> None:
            campaigns: dict[str, Campaign] = {}
            while time.monotonic() < deadline:
                with taking:
                    number, one = next(left, (0, None))
                if one is None:
                    return
                layout, command, at, kind, boundaries = one
                if layout not in campaigns:
                    campaigns[layout] = _campaign(server, layout, Path(first), Path(second), name, made)
                found = Found(command.name, layout, boundaries)
                repeat = kind == "kill" or number % options.repeat_every == 0
                campaigns[layout].known(learned[command.name], command)
                campaigns[layout].inject(command, at, kind, found, repeat=repeat)
                record = {**vars(found), "at": at, "kind": kind}
                with taking:
                    records.append(record)
                    if options.record is not None:
                        with options.record.open("a") as file:
                            file.write(json.dumps(record) + "\n")
                    for failure in found.failures:
                        print(failure, flush=True)

        workers = [threading.Thread(target=work, args=(f"job-{number}",)) for number in range(options.jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    server.close()
    print_matrix(records)


def _campaign(server: Server, layout: str, first: Path, second: Path, name: str, made: Path) -> Campaign:
    """Return a campaign with folders of its own: the temporary one on the first file system, the outputs on either."""
    work = (first if layout == "one" else second) / layout / name
    work.mkdir(parents=True)
    return Campaign(server, Layout(layout, work, first / "temporary" / layout / name), made)


def print_matrix(records: list[dict[str, Any]]) -> None:
    """Print the findings as a table in Markdown."""
    print("| command | file systems | write boundaries | failed at | faults | ENOSPC | EIO | kill | repeated | lost |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    total: Counter[str] = Counter()
    for command in COMMANDS:
        for layout in ("one", "two"):
            mine = [one for one in records if (one["command"], one["layout"]) == (command.name, layout)]
            if not mine:
                continue
            kinds = Counter(one["kind"] for one in mine)
            row = Counter(
                faults=len(mine), repeated=sum(one["repeated"] for one in mine),
                lost=sum(bool(one["failures"]) for one in mine), **kinds,
            )  # fmt: skip
            total += row
            cells = [
                command.name, layout, max(one["boundaries"] for one in mine), len({one["at"] for one in mine}),
                row["faults"], *(row[kind] for kind in KINDS), row["repeated"], row["lost"],
            ]  # fmt: skip
            print(f"| {' | '.join(map(str, cells))} |")
    cells = ["all", "", "", "", *(total[name] for name in ("faults", *KINDS, "repeated", "lost"))]
    print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
