"""A round of a soak: a command that is struck and resumed until it ends, and what it left."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import soak_processes as processes
from soak_audit import (
    BEHAVIOUR,
    LEFT,
    LOST,
    Finding,
    History,
    audit_files,
)
from soak_commands import (
    DISK,
    STOP_SECONDS,
    Command,
    Fault,
    environment,
    epochs_printed,
)

TRIES = 3  # of a command that fails though nothing has struck it
GRACE = 20.0  # seconds in which the processes of a command that has ended are to follow it
TINY = (
    *("experiment=smoke", "data.phantom.shape=[20,20,20]", "model.filters=2", "model.depth=1"),
    *("model.norm=instance", "schedule=constant", "optimizer.epsilon=1e-4"),
    *("validation.overlap=0", "validation.cases=1", "threads=1", "data.workers=1"),
    "tracking.system_metrics=false",
)


@dataclass(frozen=True)
class Anomaly:
    """A finding, and where and when it was made."""

    scenario: str
    seconds: float  # since the soak began
    finding: Finding

    def __str__(self) -> str:
        clock = time.strftime("%H:%M:%S", time.gmtime(self.seconds))
        found = self.finding
        line = f"! {clock} {self.scenario}: {found.kind}: expected {found.expected}; "
        return f"{line}found {found.found}" + (f"  [{found.path}]" if found.path else "")


@dataclass
class Outcome:
    """What one round of a scenario did."""

    scenario: str
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    epochs: int = 0  # of finished trainings
    trials: int = 0  # with a result
    resumes: int = 0
    anomalies: list[Anomaly] = field(default_factory=list)
    skipped: str = ""


@dataclass
class Soak:
    """What all rounds share."""

    folder: Path
    seed: int
    patience: float
    marker: str
    begun: float = field(default_factory=time.monotonic)
    end: float = float("inf")  # no fault strikes, and no round begins, after
    reference: History = field(default_factory=list)  # of an undisturbed training
    trials: dict[str, History] = field(default_factory=dict)  # by name, of former sweeps
    outcomes: list[Outcome] = field(default_factory=list)  # of all rounds, the present one too

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end

    def settings(self, steps: int) -> list[str]:
        """Of all commands. steps: of an epoch."""
        data = (f"data.root={self.folder}/data/phantom", f"data.store={self.folder}/data/stores")
        return [*TINY, *data, f"steps_per_epoch={steps}"]


@dataclass
class Round:
    """One round of a scenario, in a folder of its own."""

    soak: Soak
    name: str
    outcome: Outcome
    random: Random
    progress: Callable[[], int] = lambda: 0

    @property
    def folder(self) -> Path:
        """Where its commands run; their output is in the file `output`."""
        return self.soak.folder / self.name

    @property
    def output(self) -> Path:
        """output_dir of its commands."""
        return self.folder / "outputs"

    @property
    def temporary(self) -> Path:
        """TMPDIR of its commands."""
        return self.folder / "tmp"

    def add(self, finding: Finding) -> None:
        """Keep and print what was found."""
        anomaly = Anomaly(self.name, time.monotonic() - self.soak.begun, finding)
        self.outcome.anomalies.append(anomaly)
        print(anomaly, flush=True)

    def note(self, kind: str, expected: str, found: str) -> None:
        """A finding whose evidence is what the commands printed."""
        self.add(Finding(kind, expected, found, str(self.folder / "output")))


@contextmanager
def new_round(soak: Soak, scenario: str, number: int) -> Iterator[Round]:
    """A round, and what every round must leave: no process and no file of a passing kind.

    The folder of a round without anomalies is removed.
    """
    name = f"{scenario}-{number}"
    round_ = Round(soak, name, Outcome(name), Random(f"{soak.seed} {name}"))
    soak.outcomes.append(round_.outcome)
    round_.temporary.mkdir(parents=True)
    round_.progress = lambda: epochs_printed(round_.folder / "output")
    began, clock = time.monotonic(), time.time()
    try:
        yield round_
    except KeyboardInterrupt:
        round_.outcome.seconds = time.monotonic() - began
        raise
    except Exception as error:  # a store or a file in a state that the audit cannot even read
        round_.note(LOST, "runs and files that can be audited", f"{type(error).__name__}: {error}")
    settle(round_)
    for finding in audit_files(round_.output, round_.temporary):
        round_.add(finding)
    for path in processes.unused_shared_memory(clock):
        round_.add(Finding(LEFT, "no shared memory", str(path), str(path)))
    if not round_.outcome.anomalies:
        shutil.rmtree(round_.folder, ignore_errors=True)
    round_.outcome.seconds = time.monotonic() - began


def settle(round_: Round) -> None:
    """The processes of a command that has ended must follow it; what does not is killed."""
    left = processes.wait_until_gone(GRACE, [])
    if left:
        lines = "; ".join(processes.described(process) for process in left[:6])
        more = f" and {len(left) - 6} more" if len(left) > 6 else ""
        round_.note(LEFT, f"no process {GRACE:.0f} s after its command", f"{lines}{more}")
        processes.kill_all([])


def persevere(round_: Round, words: Callable[[], list[str]], faults: list[Fault]) -> bool:
    """Start, strike and resume until the command ends with 0; False where that is hopeless.

    words: of the next command, as a user would type it now.
    """
    waiting, failed, first = deque(faults), 0, True
    variables = environment(round_.temporary, UNET3D_SOAK=round_.soak.marker)
    while failed < TRIES:
        round_.outcome.resumes += not first
        first = False
        command = Command.start(words(), round_.folder, variables, round_.progress)
        try:
            struck = strike(round_, command, waiting)
            code = end(round_, command, struck)
        finally:
            if command.alive:
                command.stop()
        # One in three users types the next command at once.
        if not (struck and struck[-1].ends_command and round_.random.random() < 1 / 3):
            settle(round_)
        if code == 0:
            return True
        failed = 0 if struck else failed + 1
    round_.note(LOST, "a command that can be resumed", f"{TRIES} failures without a fault")
    return False


def strike(round_: Round, command: Command, waiting: deque[Fault]) -> list[Fault]:
    """Let faults happen, each in its time, until one ends the command; returns them."""
    struck: list[Fault] = []
    before = round_.progress()
    while waiting and command.alive and not round_.soak.over:
        fault = waiting[0]
        if fault.after and not command.wait_for(before + fault.after, round_.soak.patience):
            break  # it has ended, or it stalls
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.process.wait(fault.seconds)
        if not command.alive:
            break
        waiting.popleft()
        happened = (
            fill_disk(round_) if fault.kind == DISK else command.strike(fault.kind, round_.random)
        )
        if not happened:
            continue
        print(f"  {round_.name}: {fault.kind} after {round_.progress()} epochs", flush=True)
        struck.append(fault)
        round_.outcome.faults[fault.kind] += 1
        if fault.kind == DISK and round_.random.random() < 0.5:
            free_disk(round_, command, round_.random.uniform(3, 20))
        if not fault.survived:
            break
        before = round_.progress()
    return struck


def end(round_: Round, command: Command, struck: list[Fault]) -> int | None:
    """Wait for the command's end, and judge exit code and output; None: it had to be stopped."""
    last = struck[-1] if struck else None
    ended_by = last.kind if last else "nothing"
    seconds = STOP_SECONDS if last and last.ends_command else round_.soak.patience
    code = command.finish(seconds)
    if code is None:
        line = last_line(command)
        round_.note(
            BEHAVIOUR, f"an end or an epoch {seconds:.0f} s after {ended_by}", f"neither: {line}"
        )
        command.stop()
    elif code not in (last.exit_codes if last else {0}):
        expected = sorted(last.exit_codes if last else {0})
        kind = BEHAVIOUR if last and last.ends_command else LOST
        round_.note(
            kind, f"exit code in {expected} after {ended_by}", f"{code}: {last_line(command)}"
        )
    if "Traceback (most recent call last)" in command.output and code != -2:
        round_.note(BEHAVIOUR, f"no traceback after {ended_by}", last_line(command))
    free_disk(round_)
    return code


def last_line(command: Command) -> str:
    lines = [line.strip() for line in command.output.splitlines() if line.strip()]
    return lines[-1][-200:] if lines else "no output"


def fill_disk(round_: Round) -> bool:
    """Write until the file system of the output folder takes no further byte."""
    with (round_.output / "filler").open("wb", buffering=0) as filler:
        for size in (2**16, 2**9, 1):
            with contextlib.suppress(OSError):
                while filler.write(bytes(size)) == size:
                    pass
    return True


def free_disk(round_: Round, command: Command | None = None, seconds: float = 0.0) -> None:
    """Remove the filler, after `seconds` at most of a command that may still run."""
    if command:
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.process.wait(seconds)
    (round_.output / "filler").unlink(missing_ok=True)
