"""The commands of a soak, started as a user does, and the faults that strike them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil
from soak_processes import living, with_role

REPOSITORY = Path(__file__).resolve().parents[1]
EPOCH = re.compile(r"epoch \d+/\d+ ")
STOP_SECONDS = 60.0  # for a command to save and end after a signal
DRIVER = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
WORKER, SERVER, RAY, DISK = "kill worker", "kill server", ("kill raylet", "kill gcs_server"), "disk"


@dataclass(frozen=True)
class Fault:
    """What happens to a command, and when.

    after: epochs that end before, counted from the fault before it; 0: the command is starting.
    seconds: after that moment.
    """

    kind: str
    after: int
    seconds: float

    @property
    def ends_command(self) -> bool:
        """Whether the command's own process is what is struck."""
        return self.kind in DRIVER

    @property
    def exit_codes(self) -> set[int]:
        """With which a command may end that it struck: also 0, it may just have been done."""
        if self.kind in DRIVER:
            number = int(signal.Signals[self.kind])
            return {0, -number} if self.kind == "SIGKILL" else {0, 128 + number, -number}
        return {0} if self.survived else {0, 1, 2}

    @property
    def survived(self) -> bool:
        """Whether the command goes on by itself, so that the next fault can strike it too."""
        return self.kind in (WORKER, SERVER)


def draw_faults(random: Random, kinds: list[str], epochs: int) -> list[Fault]:
    """A moment for each kind: one in four early, the others spread over `epochs`."""
    share = max(1, epochs // (len(kinds) + 1))
    faults = []
    for kind in kinds:
        early = kind in DRIVER and random.random() < 0.25
        after = 0 if early else random.randint(1, share)
        faults.append(Fault(kind, after, random.uniform(0.3, 15.0 if early else 1.0)))
    return faults


@dataclass
class Command:
    """A running command; its output is appended to `log`."""

    process: subprocess.Popen[bytes]
    log: Path
    begin: int  # of its own output in `log`
    progress: Callable[[], int]  # epochs that have ended, over all commands of a round
    before: int  # of them, when it started

    @staticmethod
    def start(
        words: list[str], folder: Path, environment: dict[str, str], progress: Callable[[], int]
    ) -> Command:
        """`python <words>` in `folder`, in a session of its own, as in a terminal of its own."""
        log = folder / "output"
        with log.open("ab") as output:
            output.write(f"\n$ python {' '.join(words)}\n".encode())
            begin = output.tell()
            output.flush()
            process = subprocess.Popen(
                [sys.executable, str(REPOSITORY / words[0]), *words[1:]],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Command(process, log, begin, progress, before=progress())

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """All that it has printed."""
        return self.log.read_bytes()[self.begin :].decode(errors="replace")

    def wait_for(self, epochs: int, patience: float) -> bool:
        """Until so many epochs have ended; False where it ends, or stalls, before."""
        return self._watch(lambda: self.progress() >= epochs, patience)

    def finish(self, patience: float) -> int | None:
        """Its exit code; None where no epoch ends for `patience` seconds and it still runs."""
        self._watch(lambda: False, patience)
        return self.process.poll()

    def _watch(self, reached: Callable[[], bool], patience: float) -> bool:
        seen, since = self.progress(), time.monotonic()
        while not reached():
            if not self.alive:
                return reached()
            if (now := self.progress()) != seen:
                seen, since = now, time.monotonic()
            starting = seen == self.before  # imports, Ray and a server take their time
            if time.monotonic() - since > patience * (1 + starting):
                return False
            time.sleep(0.1)
        return True

    def strike(self, kind: str, random: Random) -> bool:
        """Let the fault happen; False where what it needs is not there."""
        if kind in ("SIGINT", "SIGHUP"):  # Ctrl-C, a closed terminal: for all of its processes
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.Signals[kind])
            return True
        if kind in DRIVER:
            self.process.send_signal(signal.Signals[kind])
            return True
        found = with_role(kind.removeprefix("kill "), living([self.process.pid]))
        if found:
            with contextlib.suppress(psutil.Error):
                random.choice(found).kill()
        return bool(found)

    def stop(self) -> None:
        """As a user who has lost patience: SIGTERM, and SIGKILL half a minute later."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def environment(folder: Path, **more: Any) -> dict[str, str]:
    """Of all commands: a folder for temporary files, nothing of the user's MLflow and Ray."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RAY_"))}
    own = {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder), "TF_CPP_MIN_LOG_LEVEL": "2"}
    return {**clean, **own, **more}


def epochs_printed(log: Path) -> int:
    """Epochs of a training, over all commands in `log`."""
    return len(EPOCH.findall(log.read_text(errors="replace"))) if log.exists() else 0


def epochs_of_trials(sweep: Path) -> int:
    """Epochs that all trials of a sweep have written, and trials that have ended."""
    lines = sum(path.read_bytes().count(b"\n") for path in sweep.glob("trials/*/epochs"))
    return lines + len(list(sweep.glob("trials/*/ended.json")))
