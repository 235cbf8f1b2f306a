"""What is counted after the faults: runs, epochs, metrics, trials and files."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from unet3d.errors import RunError  # noqa: E402
from unet3d.run_folder import RunFolder  # noqa: E402
from unet3d.training.checkpoint import read_progress  # noqa: E402

LOST, LEFT, BEHAVIOUR = "lost", "left behind", "behaviour"
METRICS = ("train/loss", "val/dice")
REASON = "unet3d.reason"  # a tag
EXACT, ROUNDING = 1e-6, 3e-3  # of one process to itself, of two workers to one
TEMPORARY = re.compile(r"^\..*\.tmp|^\.tmp-|\.tmp$|^\.best\.weights\.h5$")

History = list[dict[str, Any]]  # {epoch, time, metrics}, as in a checkpoint


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    kind: str  # lost | left behind | behaviour
    expected: str
    found: str
    path: str = ""


class TrackingStore:
    """The runs that an output folder's SQLite file knows."""

    def __init__(self, output: Path):
        from unet3d.tracking.connection import quiet_mlflow

        quiet_mlflow()
        from mlflow import MlflowClient

        self.path = output / "mlflow.db"
        self.client = MlflowClient(f"sqlite:///{self.path}")
        experiments = [e.experiment_id for e in self.client.search_experiments()]
        self.runs = list(self.client.search_runs(experiments, max_results=50000))

    def status(self, run_id: str) -> str:
        """FINISHED, RUNNING, ...; "not recorded" where the store does not know the run."""
        known = {run.info.run_id: run.info.status for run in self.runs}
        return known.get(run_id, "not recorded")

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """(epoch, value) of each entry, by epoch."""
        entries = self.client.get_metric_history(run_id, metric)
        return sorted((entry.step, entry.value) for entry in entries)

    def artifacts(self, run_id: str) -> Path:
        """The folder of a run's artifacts, whether a server has written them or the run."""
        (uri,) = (run.info.artifact_uri for run in self.runs if run.info.run_id == run_id)
        address = urlparse(uri)
        path = Path(unquote(address.path))
        if address.scheme == "file":
            return path
        return self.path.parent / "mlartifacts" / path.relative_to("/")

    def still_running(self) -> Iterator[Finding]:
        """Runs that say RUNNING; none of their processes lives when this is asked."""
        for run in self.runs:
            if run.info.status in ("RUNNING", "SCHEDULED"):
                expected = "no run RUNNING whose process has ended"
                name = run.info.run_name
                yield Finding(LEFT, expected, f"{run.info.run_id} ({name}) is", str(self.path))


def open_store(output: Path) -> TrackingStore | Finding:
    """The tracking store, or why it cannot be read."""
    if not (output / "mlflow.db").exists():
        return Finding(LOST, "a tracking store", f"no {output / 'mlflow.db'}")
    try:
        return TrackingStore(output)
    except Exception as error:
        first = str(error).splitlines()[0][:200]
        return Finding(LOST, "a tracking store that opens", first, str(output / "mlflow.db"))


def audit_training(
    output: Path, epochs: int, reference: History, tolerance: float
) -> tuple[int, list[Finding]]:
    """One training in `output`: its epochs on disk, and what is wrong with run, metrics, files."""
    store = open_store(output)
    if isinstance(store, Finding):
        return 0, [store]
    findings = list(store.still_running())
    finished = [run.info.run_id for run in store.runs if run.info.status == "FINISHED"]
    for run in store.runs:  # that nothing has resumed
        if run.info.status not in ("FINISHED", "RUNNING") and not run.data.tags.get(REASON):
            found = f"{run.info.run_id} is {run.info.status} without one"
            findings.append(Finding(LOST, "a reason why a run ended", found, str(store.path)))
    if len(finished) != 1:
        statuses = Counter(run.info.status for run in store.runs)
        findings.append(
            Finding(LOST, "one FINISHED run", f"{dict(statuses)}", str(output / "runs"))
        )
    done = 0
    for run_id in finished:
        history, wrong = audit_run(store, output, run_id, epochs)
        done += len(history)
        findings += [*wrong, *compare(history, reference, tolerance, output / "runs" / run_id)]
    return done, findings


def audit_run(
    store: TrackingStore, output: Path, run_id: str, epochs: int
) -> tuple[History, list[Finding]]:
    """A finished run's epochs as its checkpoint has them; tracking and files must agree."""
    folder = output / "runs" / run_id
    try:
        history = read_progress(RunFolder(folder)).history
    except RunError as error:
        return [], [Finding(LOST, "a checkpoint", str(error), str(folder))]
    findings = []
    numbers = [record["epoch"] for record in history]
    if numbers != list(range(1, epochs + 1)):
        expected = f"epochs 1 to {epochs} once in the checkpoint"
        findings.append(Finding(LOST, expected, f"{numbers}", str(folder)))
    for metric in METRICS:
        known = [(r["epoch"], r["metrics"][metric]) for r in history if metric in r["metrics"]]
        recorded = store.history(run_id, metric)
        if recorded != known:
            expected = f"{metric} of {run_id} as in its checkpoint, {len(known)} epochs"
            findings.append(Finding(LOST, expected, different(recorded, known), str(store.path)))
    for name in ("checkpoints/best.weights.h5", "config.yaml", "dataset.json", "train.log"):
        if not (folder / name).is_file():
            findings.append(Finding(LOST, f"{name} of {run_id}", "none", str(folder)))
    findings += audit_artifacts(store.artifacts(run_id), folder)
    return history, findings


def audit_artifacts(artifacts: Path, folder: Path) -> list[Finding]:
    """The files of a finished run as the tracking store keeps them, the weights bit by bit."""
    findings = []
    for name in ("model/best.weights.h5", "config/config.yaml", "log/train.log"):
        if not (artifacts / name).is_file():
            findings.append(Finding(LOST, f"{name} as artifact", "none", str(artifacts)))
    kept, own = artifacts / "model/best.weights.h5", folder / "checkpoints/best.weights.h5"
    if kept.is_file() and own.is_file() and kept.read_bytes() != own.read_bytes():
        findings.append(Finding(LOST, "the best weights as artifact", "others", str(kept)))
    return findings


def different(recorded: list[tuple[int, float]], known: list[tuple[int, float]]) -> str:
    """What the tracking store lacks, has twice or has otherwise."""
    counts = Counter(epoch for epoch, _ in recorded)
    twice = [epoch for epoch, count in counts.items() if count > 1]
    missing = [epoch for epoch, _ in known if epoch not in counts]
    other = [epoch for epoch, value in known if epoch in counts and (epoch, value) not in recorded]
    return f"epochs missing {missing}, twice {twice}, of another value {other}"


def compare(history: History, reference: History, tolerance: float, where: Path) -> list[Finding]:
    """Each epoch that both have against the undisturbed training."""
    worst, at = 0.0, ""
    for ours, theirs in zip(history, reference, strict=False):
        for metric in METRICS:
            if metric in ours["metrics"] and metric in theirs["metrics"]:
                gap = abs(ours["metrics"][metric] - theirs["metrics"][metric])
                if not gap <= worst:
                    worst, at = gap, f"{metric} of epoch {ours['epoch']} differs by {gap:.3g}"
    if worst <= tolerance:
        return []
    return [Finding(LOST, f"an undisturbed run's values to {tolerance:g}", at, str(where))]


def audit_sweep(
    output: Path, name: str, trials: int, epochs: int, known: dict[str, History]
) -> tuple[int, list[Finding]]:
    """A grid of `trials` in `output`: trials with a result, and what is wrong.

    known: each trial's epochs in former rounds, by its name; filled here where there is none.
    """
    store = open_store(output)
    if isinstance(store, Finding):
        return 0, [store]
    findings = list(store.still_running())
    parents = [run for run in store.runs if "mlflow.parentRunId" not in run.data.tags]
    statuses = [run.info.status for run in parents]
    if statuses != ["FINISHED"]:
        findings.append(Finding(LOST, "one parent run, FINISHED", f"{statuses}", str(store.path)))
    folders = [path.parent for path in (output / "sweeps" / name).glob("trials/*/trial.json")]
    described = [json.loads((folder / "trial.json").read_text()) for folder in folders]
    if sorted(trial["number"] for trial in described) != list(range(trials)):
        expected = f"trials 0 to {trials - 1}, a folder each"
        findings.append(Finding(LOST, expected, f"{len(folders)} folders", str(output / "sweeps")))
    done = 0
    for folder, trial in zip(folders, described, strict=True):
        wrong = audit_trial(store, output, folder, epochs)
        done += not any(finding.kind == LOST for finding in wrong)
        history = read_epochs(folder)
        reference = known.setdefault(trial["name"], history)
        findings += [*wrong, *compare(history, reference, EXACT, folder)]
        if len(history) > len(reference):
            known[trial["name"]] = history
    return done, findings


def read_epochs(folder: Path) -> History:
    """A trial's epochs, each once, in order; of one that ran twice the later record."""
    path, records = folder / "epochs", {}
    for text in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # a line that a kill has cut off
            record = json.loads(text)
            records[record["epoch"]] = record
    return [records[epoch] for epoch in sorted(records)]


def audit_trial(store: TrackingStore, output: Path, folder: Path, epochs: int) -> list[Finding]:
    """A trial: one result, one FINISHED run, and all epochs up to where it ended."""
    path = folder / "ended.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    state, done = result.get("state", "no result"), result.get("epochs", 0)
    if not ((state == "finished" and done == epochs) or (state == "pruned" and 0 < done < epochs)):
        expected = f"trial finished after {epochs} epochs, or pruned before"
        return [Finding(LOST, expected, f"{state} after {done}", str(folder))]
    runs = [run for run in store.runs if run.data.tags.get("sweep.key") == folder.name]
    finished = [run.info.run_id for run in runs if run.info.status == "FINISHED"]
    if finished != [result["run_id"]]:
        expected = f"one FINISHED run of the trial, {result['run_id']}"
        found = f"{[(run.info.run_id, run.info.status) for run in runs]}"
        return [Finding(LOST, expected, found, str(folder))]
    return audit_run(store, output, result["run_id"], done)[1]


def audit_files(output: Path, temporary: Path) -> list[Finding]:
    """Temporary files, folders of jobs and what is in TMPDIR, but for Ray's logs."""
    findings = []
    left = [path for path in output.rglob("*") if TEMPORARY.search(path.name)]
    jobs = list((output / ".jobs").glob("*"))
    for expected, paths in (("no temporary files", left), ("no folder of a job", jobs)):
        if paths:
            findings.append(Finding(LEFT, expected, names(paths, output), str(output)))
    groups: dict[str, list[Path]] = {}
    for path in temporary.iterdir():
        if path.name != "ray":
            generated = path.name.startswith("__autograph_generated_file")
            groups.setdefault("autograph" if generated else "other", []).append(path)
    for paths in groups.values():
        findings.append(Finding(LEFT, "TMPDIR as before", names(paths, temporary), str(temporary)))
    return findings


def names(paths: list[Path], below: Path) -> str:
    """The first three of them, and how many there are."""
    first = ", ".join(str(path.relative_to(below)) for path in sorted(paths)[:3])
    return f"{len(paths)}: {first}" + (", ..." if len(paths) > 3 else "")
