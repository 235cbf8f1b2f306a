"""Faults for an hour, and an audit of what they cost: python benchmarks/soak.py

Trainings, sweeps, data parallel jobs, a tracking server of their own and a full disk, on tiny
phantoms: the real commands are started, struck at random moments (SIGKILL, SIGTERM, Ctrl-C, a
closed terminal; a worker, the server, Ray's processes, the disk) and resumed as a user would. Then
runs, epochs, metrics, trials, files and processes are counted. Nothing may be lost or left behind:
each anomaly is a line, its evidence is kept in the folder, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import soak_processes as processes
from soak_audit import LEFT, LOST
from soak_rounds import Outcome, Soak
from soak_scenarios import SCENARIOS, train_reference

CYCLES = 5  # in which EPOCHS and TRIALS, or what is chosen instead, are reached
EPOCHS, TRIALS = 500, 200
SHARES = {"training": 0.4, "data": 0.2, "server": 0.2, "disk": 0.2}  # of a cycle's epochs
CORES = 2
LONGEST_FOLDER = 30  # characters; a socket's path has 107, and Ray's own part about 75


def main() -> int:
    """Soak, print the table, write the report; 1 where there were anomalies."""
    arguments = parse()
    if hasattr(os, "sched_setaffinity"):  # inherited by all commands
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    processes.adopt_orphans()
    if not processes.own_shared_memory():
        print("not root: what other programs leave in /dev/shm counts as left by this one")
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="soak-")).resolve()
    if folder.exists() and any(folder.iterdir()):
        sys.exit(f"--folder: {folder} is not empty")
    if len(str(folder)) > LONGEST_FOLDER:
        sys.exit(f"--folder: {folder} is too long for the sockets that Ray has below it")
    soak = Soak(folder, arguments.seed, arguments.patience, marker=f"soak-{os.getpid()}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # A signal that is ignored here, as under nohup, would be ignored by the commands as well.
    signal.signal(signal.SIGHUP, lambda number, frame: None)
    if arguments.minutes:
        soak.end = soak.begun + 60 * arguments.minutes
    try:
        run(soak, arguments)
    except KeyboardInterrupt:
        print("stopped; what follows is what was done")
    finally:
        processes.kill_all([])
    return summarise(soak, arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    until = "default: {}, or as many as --minutes allows"
    parser.add_argument("--epochs", type=int, help=f"of trainings ({until.format(EPOCHS)})")
    parser.add_argument("--trials", type=int, help=f"of sweeps ({until.format(TRIALS)})")
    parser.add_argument("--minutes", type=float, help="begin no round after")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of faults")
    parser.add_argument("--folder", help="a new or empty one; kept (default: a temporary one)")
    parser.add_argument("--report", type=Path, help="a JSON file of all that is printed")
    parser.add_argument(
        "--patience",
        type=float,
        default=180.0,
        help="seconds without an epoch after which a command is stuck (default: 180)",
    )
    parser.add_argument(
        "--only", choices=SCENARIOS, action="append", help="this scenario, more than once: these"
    )
    return parser.parse_args()


def run(soak: Soak, arguments: argparse.Namespace) -> None:
    """Round after round of each scenario, until there are enough epochs and trials, or minutes."""
    chosen = arguments.only or list(SCENARIOS)
    a_cycle = (arguments.epochs or EPOCHS) / CYCLES
    planned = {name: max(10, int(a_cycle * SHARES[name])) for name in SHARES}
    planned["sweep"] = max(4, (arguments.trials or TRIALS) // CYCLES)
    endless = sys.maxsize if arguments.minutes else 0
    all_epochs = arguments.epochs or endless or EPOCHS
    all_trials = arguments.trials or endless or TRIALS
    train_reference(soak, max(planned[name] for name in SHARES))
    epochs = trials = number = 0  # planned for rounds so far: a round that fails is not endless
    while not soak.over:
        number += 1
        begun = False
        for name in chosen:
            if name == "sweep":
                size = min(planned[name], all_trials - trials)
                trials += max(0, size)
            else:
                size = min(planned[name], all_epochs - epochs)
                epochs += max(0, size)
            if size > 0 and not soak.over:
                SCENARIOS[name](soak, number, size)
                print(line(soak.outcomes[-1]), flush=True)
                begun = True
        if not begun:
            return


def line(outcome: Outcome) -> str:
    """A row of the table."""
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(outcome.faults.items()))
    kinds = count(outcome.anomalies)
    return (
        f"{outcome.scenario:<14}{sum(outcome.faults.values()):>7}{outcome.epochs:>8}"
        f"{outcome.trials:>8}{outcome.resumes:>9}{kinds[LOST]:>8}{kinds[LEFT]:>6}"
        f"{len(outcome.anomalies):>11}{outcome.seconds:>9.0f}  {outcome.skipped or faults}"
    )


def count(anomalies: list[Any]) -> Counter[str]:
    return Counter(anomaly.finding.kind for anomaly in anomalies)


def summarise(soak: Soak, arguments: argparse.Namespace) -> int:
    """The table, the JSON report, and the exit code."""
    total = Outcome("all", time.monotonic() - soak.begun)
    for outcome in soak.outcomes:
        total.faults += outcome.faults
        total.epochs += outcome.epochs
        total.trials += outcome.trials
        total.resumes += outcome.resumes
        total.anomalies += outcome.anomalies
    print(
        f"\n{'round':<14}{'faults':>7}{'epochs':>8}{'trials':>8}{'resumes':>9}{'losses':>8}"
        f"{'left':>6}{'anomalies':>11}{'seconds':>9}"
    )
    for outcome in [*soak.outcomes, total]:
        print(line(outcome))
    if arguments.report:
        report = {
            "seed": arguments.seed,
            "minutes": arguments.minutes,
            "folder": str(soak.folder),
            "total": plain(total),
            "rounds": [plain(outcome) for outcome in soak.outcomes],
        }
        arguments.report.write_text(json.dumps(report, indent=1))
    if total.anomalies:
        print(f"\n{len(total.anomalies)} anomalies; what was printed is kept in {soak.folder}")
        return 1
    if arguments.folder is None:
        shutil.rmtree(soak.folder, ignore_errors=True)
    print("\nnothing lost, nothing left behind")
    return 0


def plain(outcome: Outcome) -> dict[str, Any]:
    """For JSON; asdict would count a Counter's pairs."""
    return {**asdict(outcome), "faults": dict(outcome.faults)}


if __name__ == "__main__":
    sys.exit(main())
