"""A few real steps of each kind of trial before a sweep: its memory and time, measured.

Each in a process of its own, so that a peak is that of one trial, and one that the kernel or the
device ends for want of memory ends alone.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from tempfile import TemporaryDirectory
from typing import Any

from unet3d.config.schema import Config, as_dict
from unet3d.errors import RunError, in_a_line
from unet3d.planning.timing import RunCost
from unet3d.sweep.forecast.trial_costs import GB, TrialCost
from unet3d.sweep.resources import TrialResources
from unet3d.sweep.trial import Trial

log = logging.getLogger(__name__)
STEPS, EPOCHS = 2, 2  # the second epoch has no compilation in it
SHAPES = ("model", "loss", "optimizer", "augment", "parallel")
SIZES = ("batch_size", "accumulate", "precision", "nodes", "xla", "deterministic", "threads")
# Of the data, what neither changes the size of a step nor its time.
SPLITS = ("split", "split_seed", "folds", "fold", "patches_per_case", "foreground")
OUT_OF_MEMORY = ("out of memory", "not enough memory", "does not fit", "ResourceExhausted")


@dataclass(frozen=True)
class Probe:
    """What the steps took. memory: bytes at the most. start: seconds until the first step, its
    compilation included. step, case: of a step, and of one volume of validation.

    problem: why there is nothing else; fits: False where that was memory.
    """

    memory: float = 0.0
    start: float = 0.0
    step: float = 0.0
    case: float = 0.0
    problem: str = ""
    fits: bool = True

    def seconds(self, cost: RunCost) -> float:
        """Of a whole training that asks for `cost`."""
        validations = -(-cost.epochs // cost.val_every)
        steps = cost.epochs * cost.steps * self.step
        return self.start + steps + validations * cost.validation_cases * self.case


def shape_of(config: Config) -> str:
    """Equal for trials whose steps take the same memory and time."""
    data = {key: value for key, value in as_dict(config.data).items() if key not in SPLITS}
    groups = {name: asdict(getattr(config, name)) for name in SHAPES}
    sizes = {name: getattr(config, name) for name in SIZES}
    return json.dumps([data, groups, sizes], sort_keys=True, default=str)


def probed(
    costs: Sequence[TrialCost], runs: Sequence[RunCost], resources: TrialResources, local: bool
) -> list[TrialCost]:
    """The costs with measured figures in place of forecast ones.

    Raises RunError that names the trials whose steps did not fit in memory, and for a step that
    fails otherwise. Where trials run on other nodes, or on several, a line says that nothing was
    measured.
    """
    if not local or resources.workers_per_trial > 1:
        where = "several workers each" if local else "other nodes"
        log.info("sweep.probe: measures one process of this machine; the trials run on %s", where)
        return list(costs)
    shapes = [shape_of(cost.trial.config) for cost in costs]
    found: dict[str, Probe] = {}
    for shape, cost in zip(shapes, costs, strict=True):
        if shape not in found:
            found[shape] = probe(cost.trial, resources)
            _say(cost.trial, found[shape], shapes.count(shape))
    check_probes(costs, [found[shape] for shape in shapes])
    return [
        replace(
            cost,
            memory=found[shape].memory,
            seconds=found[shape].seconds(run),
            probed=True,
        )
        for cost, shape, run in zip(costs, shapes, runs, strict=True)
    ]


def _say(trial: Trial, one: Probe, alike: int) -> None:
    if one.problem:
        return
    others = f", and {alike - 1} like it" if alike > 1 else ""
    log.info(
        "probe of trial %d (%s)%s: %.3g GB, %.3g s a step, %.3g s until the first, %.3g s a "
        "validated case",
        trial.number,
        trial.name,
        others,
        one.memory / GB,
        one.step,
        one.start,
        one.case,
    )


def check_probes(costs: Sequence[TrialCost], probes: Sequence[Probe]) -> None:
    """Raise RunError that names the trials whose probe has a problem."""
    wrong = [(c.trial, p) for c, p in zip(costs, probes, strict=True) if p.problem]
    if not wrong:
        return
    trial, one = next(((t, p) for t, p in wrong if p.fits), wrong[0])
    if one.fits:
        raise RunError(f"sweep.probe: trial {trial.number} ({trial.name}) fails: {one.problem}")
    named = ", ".join(f"{trial.number} ({trial.name})" for trial, _ in wrong)
    raise RunError(
        f"sweep.probe: a step of trial {named} does not fit in memory ({one.problem}); leave out "
        "what does not fit, or type a larger accumulate, a smaller data.patch, batch_size or "
        "model.filters"
    )


def probe(trial: Trial, resources: TrialResources) -> Probe:
    """Measure a trial on this machine, in a process that ends with it."""
    with TemporaryDirectory(prefix="unet3d-probe-") as folder:
        config = probe_config(trial.config, folder, resources)
        context = get_context("spawn")
        answer, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_train, args=(config, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            found = Probe(**answer.recv())
        except EOFError:  # it was killed
            process.join()
            return Probe(problem=f"its process ended with code {process.exitcode}", fits=False)
        finally:
            if process.is_alive():
                process.join(10)
                process.kill()
        return found


def probe_config(config: Config, folder: str, resources: TrialResources) -> Config:
    """A trial's settings for a few steps, recorded nowhere but in `folder`."""
    return replace(
        config,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        val_every=1,
        patience=None,
        stop_after=None,
        resume=None,
        profile_steps=0,
        output_dir=folder,
        threads=config.threads or resources.cpus,
        validation=replace(config.validation, cases=1),
        parallel=replace(config.parallel, baseline=None),
        tracking=replace(config.tracking, name="none", tensorboard=False, system_metrics=False),
    )


def _train(config: Config, answer: Connection) -> None:
    """What the process runs: the training itself; sends a Probe's fields."""
    os.setsid()  # Ctrl-C is for the sweep, which ends this process
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(quiet, stream.fileno())
    try:
        answer.send(_measured(config))
    except BaseException as error:  # whatever it is, the sweep is to know
        text = in_a_line(error) if isinstance(error, Exception) else type(error).__name__
        memory = isinstance(error, MemoryError) or any(word in str(error) for word in OUT_OF_MEMORY)
        answer.send({"problem": text, "fits": not memory})
    answer.close()


def _measured(config: Config) -> dict[str, Any]:
    from pathlib import Path

    from unet3d.run_folder import RunFolder
    from unet3d.training.checkpoint import read_progress
    from unet3d.training.run import run_training

    run_training(config)
    (path,) = (Path(config.output_dir) / "runs").iterdir()
    first, last = (record["metrics"] for record in read_progress(RunFolder(path)).history)
    return {
        "memory": last.get("perf/peak_memory_gb", 0.0) * GB,
        "start": sum(first.get(f"perf/{part}_s", 0.0) for part in ("start", "trace", "validate")),
        "step": last["perf/step_ms"] / 1000,
        "case": last["perf/validate_s"],
    }
