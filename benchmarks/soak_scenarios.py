"""What a soak does again and again, and what strikes it: trainings, sweeps, a full disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import soak_processes as processes
from soak_audit import EXACT, LEFT, LOST, ROUNDING, Finding, audit_sweep, audit_training, open_store
from soak_commands import (
    DISK,
    DRIVER,
    RAY,
    SERVER,
    WORKER,
    draw_faults,
    environment,
    epochs_of_trials,
)
from soak_rounds import Round, Soak, new_round, persevere, settle

DISK_SIZE = "24m"
STEPS, STEPS_OF_TRIAL = 20, 8  # of an epoch: half a second, so that a fault is felt before the end
RATES = [f"{digit}e-{power}" for power in (2, 3, 4, 5) for digit in (9, 7, 5, 3, 1)]


def train_words(round_: Round, epochs: int, *more: str) -> Callable[[], list[str]]:
    """The command of a training: resume=<id> once there is a checkpoint, else the first again."""

    def words() -> list[str]:
        output = f"output_dir={round_.output}"
        kept = sorted(round_.output.glob("runs/*/checkpoints/last.npz"), key=mtime)
        if kept:
            return ["train.py", f"resume={kept[-1].parents[1].name}", output]
        return ["train.py", *round_.soak.settings(STEPS), output, f"epochs={epochs}", *more]

    return words


def mtime(path: Path) -> float:
    return path.stat().st_mtime


def train_reference(soak: Soak, epochs: int) -> None:
    """The undisturbed training, with which all others are compared; makes the data as well."""
    from unet3d.run_folder import RunFolder
    from unet3d.training.checkpoint import read_progress

    with new_round(soak, "reference", 0) as round_:
        if persevere(round_, train_words(round_, epochs), []):
            (path,) = round_.output.glob("runs/*/checkpoints/last.npz")
            soak.reference = read_progress(RunFolder(path.parents[1])).history
        audit(round_, audit_training(round_.output, epochs, soak.reference, EXACT))


def audit(round_: Round, counted: tuple[int, list[Finding]]) -> None:
    """Keep what an audit has counted and found."""
    round_.outcome.epochs += counted[0]
    for finding in counted[1]:
        round_.add(finding)


def close_dead(round_: Round) -> None:
    """Close what a SIGKILL has left RUNNING with no checkpoint to resume, as a user would.

    No other fault may leave such a run, and none may be left afterwards.
    """
    store = open_store(round_.output)
    left = [] if isinstance(store, Finding) else list(store.still_running())
    if len(left) > round_.outcome.faults["SIGKILL"]:
        for finding in left:
            round_.add(finding)
    if left:
        words = ["-m", "unet3d.cli", "runs", "close=true", f"output_dir={round_.output}"]
        done = subprocess.run(
            [sys.executable, *words],
            cwd=round_.folder,
            env=environment(round_.temporary, UNET3D_SOAK=round_.soak.marker),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        with (round_.folder / "output").open("a") as output:
            output.write(f"\n$ python {' '.join(words)}\n{done.stdout}{done.stderr}")
        if done.returncode:
            round_.note(LOST, "unet3d runs closes them", f"exit code {done.returncode}")


def training(soak: Soak, number: int, epochs: int) -> None:
    """One training whose process is killed, terminated, interrupted and hung up."""
    with new_round(soak, "training", number) as round_:
        kinds = round_.random.sample(DRIVER, 3)
        faults = draw_faults(round_.random, kinds, epochs)
        persevere(round_, train_words(round_, epochs), faults)
        settle(round_)
        close_dead(round_)
        audit(round_, audit_training(round_.output, epochs, soak.reference, EXACT))


def with_server(soak: Soak, number: int, epochs: int) -> None:
    """tracking=server, whose server is killed, or the training above it."""
    with new_round(soak, "server", number) as round_:
        port = processes.free_port()
        kinds = [SERVER, round_.random.choice(DRIVER)]
        round_.random.shuffle(kinds)
        faults = draw_faults(round_.random, kinds, epochs)
        more = ("tracking=server", f"tracking.port={port}")
        persevere(round_, train_words(round_, epochs, *more), faults)
        settle(round_)
        if not processes.port_is_free(port):
            round_.note(LEFT, f"port {port} is free", "it is not")
        close_dead(round_)
        audit(round_, audit_training(round_.output, epochs, soak.reference, EXACT))


def data_parallel(soak: Soak, number: int, epochs: int) -> None:
    """Two workers on this machine: a worker, the driver and Ray's own processes are killed."""
    with new_round(soak, "data", number) as round_:
        kinds = [WORKER, round_.random.choice(DRIVER), round_.random.choice(RAY)]
        round_.random.shuffle(kinds)
        faults = draw_faults(round_.random, kinds, epochs)
        more = ("parallel=data", "nodes=2", "parallel.hang_timeout=20")
        persevere(round_, train_words(round_, epochs, *more), faults)
        settle(round_)
        close_dead(round_)
        audit(round_, audit_training(round_.output, epochs, soak.reference, ROUNDING))


def sweep(soak: Soak, number: int, trials: int) -> None:
    """A grid on two slots, every other one under ASHA: workers, driver and Ray are killed."""
    with new_round(soak, "sweep", number) as round_:
        trials = 2 * max(1, min(trials // 2, len(RATES)))
        pruning = number % 2 == 0
        epochs = 4 if pruning else 2
        rates = ",".join(RATES[: trials // 2])
        words = [
            *("sweep.py", "-m", *soak.settings(STEPS_OF_TRIAL), f"output_dir={round_.output}"),
            *("sweep.name=soak", "parallel.trials_at_once=2", f"epochs={epochs}"),
            *(f"lr={rates}", "model.norm=none,instance"),
            *(["sweep.early_stopping=asha"] if pruning else []),
        ]
        folder = round_.output / "sweeps" / "soak"
        round_.progress = lambda: epochs_of_trials(folder)
        kinds = [WORKER, WORKER, "SIGKILL", round_.random.choice(RAY)]
        kinds.append(round_.random.choice(DRIVER))
        round_.random.shuffle(kinds)
        faults = draw_faults(round_.random, kinds, trials * 2)
        persevere(round_, lambda: words, faults)
        settle(round_)
        done, findings = audit_sweep(round_.output, "soak", trials, epochs, soak.trials)
        round_.outcome.trials = done
        audit(round_, (0, findings))


def full_disk(soak: Soak, number: int, epochs: int) -> None:
    """The output folder is a small file system that is full for a while."""
    folder = soak.folder / f"disk-{number}"
    with small_disk(folder) as refused, new_round(soak, "disk", number) as round_:
        if refused:
            round_.outcome.skipped = f"skipped, nothing can be mounted here ({refused})"
            return
        faults = draw_faults(round_.random, [DISK, DISK], epochs)
        persevere(round_, train_words(round_, epochs), faults)
        settle(round_)
        close_dead(round_)
        audit(round_, audit_training(round_.output, epochs, soak.reference, EXACT))


@contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """A file system of its own at the outputs of a round; yields why there is none, or "".

    What was on it stays, as a copy, where the round's folder stays.
    """
    output = folder / "outputs"
    output.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "soak", str(output)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        yield mounted.stderr.strip() or "mount failed"
        return
    try:
        yield ""
    finally:
        if (folder / "output").exists():
            shutil.copytree(output, folder / "kept", symlinks=True)
        subprocess.run(["umount", "-l", str(output)], check=False)
        if not (folder / "output").exists():
            shutil.rmtree(folder, ignore_errors=True)


SCENARIOS: dict[str, Callable[[Soak, int, int], None]] = {
    "training": training,
    "sweep": sweep,
    "data": data_parallel,
    "server": with_server,
    "disk": full_disk,
}
