"""The constants of `Timing` from what runs have recorded: the metrics perf/..._s."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from unet3d.errors import RunError
from unet3d.planning.timing import Placement, RunCost, Timing

SHARES = np.linspace(0, 1, 21)  # of computing during which gradients travel, that are tried


@dataclass(frozen=True)
class MeasuredRun:
    """A run that has ended. parts: seconds of each part (perf/<part>_s), over `epochs` epochs.

    warm: whether another run had trained in its process before; regrouped: whether it went on with
    other devices meanwhile, so that its parts are of no one placement.
    """

    id: str
    cost: RunCost
    placement: Placement
    parts: Mapping[str, float]
    epochs: int
    warm: bool = False
    regrouped: bool = False

    def part(self, *names: str) -> float:
        """Seconds of these parts together."""
        return sum(self.parts.get(name, 0.0) for name in names)

    @property
    def steps(self) -> int:
        """Of all epochs, without the first one of the run, which is its compilation."""
        return max(1, self.epochs * self.cost.steps - 1)

    @property
    def step_seconds(self) -> float:
        """Of a step, waiting for input and for gradients included."""
        return self.part("step", "input_wait", "allreduce") / self.steps

    @property
    def validations(self) -> int:
        """How often it has validated."""
        return self.epochs // self.cost.val_every


def fit(runs: Sequence[MeasuredRun], name: str) -> Timing:
    """The constants that explain `runs` best, and how well they do.

    Runs that were regrouped are left out. Raises RunError where no other has finished an epoch.
    """
    runs = [run for run in runs if run.epochs and run.part("step") and not run.regrouped]
    if not runs:
        raise RunError("timing: none of these runs has finished an epoch with perf/step_s")
    cold = [run for run in runs if not run.warm] or runs
    start = median(run.part("start") for run in cold)
    warm = [run.part("start") for run in runs if run.warm]
    found = Timing(
        name=name,
        start=start,
        warm_start=median(warm) if warm else start,
        compile=median(run.part("trace") for run in runs),
        step=0.0,
        flops=0.0,
        epoch_end=median(run.part("checkpoint", "record") / run.epochs for run in runs),
        end=median(run.part("end") for run in runs),
        runs=tuple(run.id for run in runs),
        known=_known(runs),
        source="measured",
    )
    alone = [run for run in runs if run.placement.devices == 1] or runs
    fixed, rate = _line(
        [
            (run.cost.batch / run.placement.devices * run.cost.flops, run.step_seconds)
            for run in alone
        ]
    )
    found = replace(found, step=fixed, flops=rate)
    validating = [run for run in runs if run.validations and run.cost.validation_cases]
    if validating:
        fixed, rate = _line([_validation_point(run) for run in validating])
        found = replace(found, validation_case=fixed, validation_flops=rate)
    for far in (False, True):
        found = _fit_exchange(found, runs, far)
    found = _fit_overlap(found, runs)
    return _with_errors(found, runs)


def _replica_flops(run: MeasuredRun) -> float:
    """Of a step, on the patches of one replica."""
    return run.cost.batch / run.placement.devices * run.cost.flops


def _known(runs: Sequence[MeasuredRun]) -> dict[str, tuple[float, float]]:
    values: dict[str, Callable[[MeasuredRun], float]] = {
        "devices": lambda run: run.placement.devices,
        "nodes": lambda run: run.placement.nodes,
        "GFLOP a patch": lambda run: run.cost.flops / 1e9,
        "MB of gradients": lambda run: run.cost.gradient_bytes / 1e6,
    }
    return {name: (min(map(value, runs)), max(map(value, runs))) for name, value in values.items()}


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(fixed seconds, operations a second) of points (operations, seconds), neither below 0.

    By relative errors, so that short runs count as much as long ones.
    """
    from scipy.optimize import nnls

    work, seconds = np.array(points).T
    if work.max() <= 0:
        return float(np.median(seconds)), 0.0
    if work.max() < 1.2 * work.min():  # one point, in effect, cannot tell the two apart
        return 0.0, float(np.median(work / seconds))
    scale = work.max()
    rows = np.stack([np.ones_like(work), work / scale], axis=1) / seconds[:, None]
    (fixed, slope), _ = nnls(rows, np.ones_like(work))
    return float(fixed), float(scale / slope) if slope > 0 else 0.0


def _validation_point(run: MeasuredRun) -> tuple[float, float]:
    rounds = -(-run.cost.validation_cases // run.placement.devices) * run.validations
    return run.cost.validation_flops, run.part("validate") / rounds


def _fit_exchange(found: Timing, runs: Sequence[MeasuredRun], far: bool) -> Timing:
    """Latency and bandwidth from the time of bare exchanges, which runs record."""
    from scipy.optimize import nnls

    several = [
        run
        for run in runs
        if run.placement.devices > 1 and (run.placement.nodes > 1) == far and run.part("allreduce")
    ]
    if not several:
        return found
    n = np.array([run.placement.devices for run in several], float)
    size = np.array([run.cost.gradient_bytes for run in several])
    seconds = np.array([run.part("allreduce") / run.steps for run in several])
    passed = 2 * (n - 1) / n * size
    if passed.max() < 1.2 * passed.min():
        latency, bandwidth = 0.0, float(np.median(passed / seconds))
    else:
        rows = np.stack([2 * (n - 1), passed / passed.max()], axis=1) / seconds[:, None]
        (latency, slope), _ = nnls(rows, np.ones_like(seconds))
        bandwidth = float(passed.max() / slope) if slope > 0 else 0.0
    if far:
        return replace(found, far_latency=float(latency), far_bandwidth=bandwidth)
    return replace(found, latency=float(latency), bandwidth=bandwidth)


def _fit_overlap(found: Timing, runs: Sequence[MeasuredRun]) -> Timing:
    several = [run for run in runs if run.placement.devices > 1 and run.part("allreduce")]
    if not several:
        return found

    def error(share: float) -> float:
        tried = replace(found, overlap=float(share))
        pairs = [(tried.step_seconds(r.cost, r.placement), r.step_seconds) for r in several]
        return float(sum((a / b - 1) ** 2 for a, b in pairs))

    return replace(found, overlap=float(min(SHARES, key=error)))


def _with_errors(found: Timing, runs: Sequence[MeasuredRun]) -> Timing:
    """With the relative error of a run's time, and its deviation between runs of one kind."""
    ratios = []
    for run in runs:
        predicted = found.run_seconds(run.cost, run.placement, run.epochs, run.warm)
        ratios.append(sum(run.parts.values()) / predicted)
    error = float(np.sqrt(np.mean((np.array(ratios) - 1) ** 2)))
    spread = float(np.std(ratios)) if len(ratios) > 1 else 0.0
    return replace(found, error=round(error, 4), spread=round(spread, 4))
