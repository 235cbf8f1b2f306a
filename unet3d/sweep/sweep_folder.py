"""What a sweep keeps on disk: outputs/sweeps/<name> with a folder for each trial, to be resumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unet3d.distributed.job_folder import JobFolder
from unet3d.distributed.writer import writing
from unet3d.errors import RunError
from unet3d.files import read_text, write_text
from unet3d.sweep.trial import Trial, TrialResult

SWEEP = "sweep.json"
TRIAL = "trial.json"
RESULT = "ended.json"
SWEPT = "differs"  # the key, in both files, of what the sweep varies


@dataclass(frozen=True)
class SweepFacts:
    """What is kept of a sweep as a whole. run_id: of its parent run in MLflow.

    seconds: that its command took, once all trials are over, and overhead: of these before the
    first trial and after the last; 0 before, and where several commands were needed. worker_start:
    that a worker took until it was ready. budget: device hours that it may take, 0 without a limit.
    minimize: as the setting of this name.
    """

    name: str = ""
    run_id: str | None = None
    command: str = ""
    swept: tuple[str, ...] = ()
    seconds: float = 0.0
    overhead: float = 0.0
    worker_start: float = 0.0
    budget: float = 0.0
    minimize: str = "none"


@dataclass(frozen=True)
class TrialRecord:
    """What is kept of a trial. epochs: records {epoch, time, metrics}; key: its folder's name;
    rung: of successive halving, 0 the cheapest."""

    number: int
    name: str
    swept: dict[str, str]
    command: str
    result: TrialResult
    epochs: list[dict[str, Any]]
    key: str = ""
    rung: int = 0


@dataclass(frozen=True)
class SweepFolder:
    """The files of a sweep, which appear whole and stay when the sweep's process is killed."""

    path: Path

    @property
    def report(self) -> Path:
        """The folder of the report and its pictures."""
        return self.path / "report"

    @property
    def study(self) -> Path:
        """The database of an Optuna study, unless sweep.storage names another."""
        return self.path / "study.db"

    @property
    def forecast(self) -> Path:
        """What was forecast, by this command or one with `dry_run=true`."""
        return self.path / "forecast.json"

    @property
    def configurations(self) -> Path:
        """The runs in the tracking store under which the trials of each configuration are."""
        return self.path / "configurations.json"

    @property
    def race(self) -> Path:
        """How a race has gone so far."""
        return self.path / "race.json"

    @property
    def lineage(self) -> Path:
        """What the members of a population have continued from."""
        return self.path / "lineage.json"

    @property
    def _data(self) -> Path:
        return self.path / "data.json"

    def inputs(self, root: str) -> dict[str, str] | None:
        """The identity of the cases of data set `root` that `keep_inputs` has kept."""
        return json.loads(read_text(self._data) or "{}").get(root)

    def keep_inputs(self, root: str, inputs: Mapping[str, str]) -> None:
        """Keep on which cases the trials train."""
        kept = json.loads(read_text(self._data) or "{}")
        write_text(self._data, json.dumps({**kept, root: dict(inputs)}, indent=1))

    def job(self, trial: Trial) -> JobFolder:
        """The folder that the trial's worker and the sweep's process share."""
        return JobFolder(self.path / "trials" / trial.key)

    def start(self, trial: Trial, replicas: Sequence[str] = ()) -> JobFolder:
        """The trial's folder, made ready for an attempt; replicas: of `TrialResources.replicas`."""
        job = self.job(trial)
        job.path.mkdir(parents=True, exist_ok=True)
        job.clear_requests()
        (job.path / RESULT).unlink(missing_ok=True)
        described = {**_described(trial), "command": trial.command_with(replicas)}
        write_text(job.path / TRIAL, json.dumps(described, indent=1))
        return job

    def renew(self, trial: Trial) -> None:
        """Describe a trial of an earlier command as this one does, which may vary more settings."""
        path = self.job(trial).path / TRIAL
        before = json.loads(read_text(path) or "{}")
        now = before | _described(trial)
        if before and now != before:
            write_text(path, json.dumps(now, indent=1))

    def finish(self, trial: Trial, result: TrialResult) -> None:
        """Keep how the trial ended."""
        write_text(self.job(trial).path / RESULT, json.dumps(asdict(result), indent=1))

    def result(self, trial: Trial) -> TrialResult | None:
        """How the trial ended, in this or an earlier command; None if it has not."""
        return _read_result(self.job(trial))

    def trials(self) -> list[TrialRecord]:
        """All trials that have started; one that has not ended is "open", with its best so far."""
        jobs = [JobFolder(path) for path in (self.path / "trials").glob("*")]
        return [record for job in jobs if (record := _read_trial(job)) is not None]

    def facts(self) -> SweepFacts:
        """What `write_facts` has kept."""
        kept = json.loads(read_text(self.path / SWEEP) or "{}")
        return SweepFacts(
            name=kept.get("name", ""),
            run_id=kept.get("run_id"),
            command=kept.get("command", ""),
            swept=tuple(kept.get(SWEPT, ())),
            seconds=float(kept.get("seconds", 0.0)),
            overhead=float(kept.get("overhead", 0.0)),
            worker_start=float(kept.get("worker_start", 0.0)),
            budget=float(kept.get("budget", 0.0)),
            minimize=kept.get("minimize", "none"),
        )

    def write_facts(self, facts: SweepFacts) -> None:
        """Keep what is known of the sweep, in place of what was."""
        kept: dict[str, Any] = {
            "name": facts.name,
            "run_id": facts.run_id,
            "command": facts.command,
            SWEPT: list(facts.swept),
        }
        if facts.seconds:
            times = ("seconds", "overhead", "worker_start")
            kept |= {name: getattr(facts, name) for name in times}
        if facts.minimize != "none":
            kept["minimize"] = facts.minimize
        if facts.budget:
            kept["budget"] = facts.budget
        write_text(self.path / SWEEP, json.dumps(kept, indent=1))

    @property
    def state(self) -> Path:
        """Whether the sweep runs, in which process, or how it ended."""
        return self.path / "state.json"

    @contextmanager
    def held(self, patience: float = 0.0) -> Iterator[None]:
        """No other process runs this sweep meanwhile. Raises RunError where one does.

        patience: seconds to wait for its end.
        """
        name = f"sweep.name: {self.path.name} is already running"
        with writing(self.state, name, patience) as writer:
            writer.begun = True
            yield


def sweep_folder(output_dir: str | Path, name: str) -> SweepFolder:
    """The folder of sweep `name` among the sweeps of `output_dir`."""
    return SweepFolder(Path(output_dir) / "sweeps" / name)


def find_sweep(output_dir: str | Path, name: str) -> SweepFolder:
    """The folder of an existing sweep. Raises RunError that lists those of `output_dir`."""
    folder = Path(output_dir) / "sweeps"
    names = sorted(path.parent.name for path in folder.glob(f"*/{SWEEP}"))
    if name in names:
        return SweepFolder(folder / name)
    problem = f"sweep: {name} does not exist" if name else "sweep is not set; type sweep=<name>"
    raise RunError(f"{problem}; in {folder}: {', '.join(names) or 'no sweeps'}")


def at_top_rung(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials that compare with each other: those of the highest rung with a finished one.

    All of a sweep without successive halving.
    """
    every = list(trials)
    top = max((one.rung for one in every if one.result.state == "finished"), default=0)
    return [one for one in every if one.rung == top]


def best_epoch(records: list[dict[str, Any]]) -> tuple[float | None, int]:
    """The highest val/dice and its epoch, the first of several."""
    validated = [
        (r["metrics"]["val/dice"], r["epoch"]) for r in records if "val/dice" in r["metrics"]
    ]
    if not validated:
        return None, 0
    return max(validated, key=lambda pair: (pair[0], -pair[1]))


def _described(trial: Trial) -> dict[str, Any]:
    described = {"number": trial.number, "name": trial.name, SWEPT: trial.swept}
    return described | ({"rung": trial.rung} if trial.rung else {})


def _read_result(job: JobFolder) -> TrialResult | None:
    text = read_text(job.path / RESULT)
    return TrialResult.of(json.loads(text)) if text else None


def _read_trial(job: JobFolder) -> TrialRecord | None:
    text = read_text(job.path / TRIAL)
    if text is None:
        return None
    kept, epochs = json.loads(text), job.epochs()
    best, at = best_epoch(epochs)
    result = _read_result(job) or TrialResult(
        "open", best, at, len(epochs), run_id=job.run_id() or ""
    )
    described = (kept["number"], kept["name"], kept[SWEPT], kept["command"])
    return TrialRecord(*described, result, epochs, job.path.name, kept.get("rung", 0))
