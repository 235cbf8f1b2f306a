"""resume=auto: a command that is run again goes on with the run that it began.

It is the same command if the settings that shape the result are the same, the names of experiment
and run, and the scheduler's job, whose id stays when the job is queued again. So two equal jobs
side by side are two runs. The run keeps the command's key as a tag.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from unet3d.config.identity import digest, settings_key
from unet3d.config.schema import Config
from unet3d.distributed.run_state import FINISHED, read_state
from unet3d.distributed.writer import FORMER_SECONDS, check_free
from unet3d.errors import RunError
from unet3d.files import read_text, write_text
from unet3d.run_folder import RunFolder
from unet3d.training.checkpoint import has_checkpoint, read_progress
from unet3d.training.resume import keep_patch

log = logging.getLogger(__name__)
COMMAND_TAG = "unet3d.command"
ATTEMPTS = 3  # of a job at the same step, after which it does not begin again


def begun_run(config: Config) -> RunFolder | None:
    """The run that this command has begun in `config.output_dir`; None where it has not."""
    key = command_key(config)
    found = [
        folder
        for folder in map(RunFolder, (Path(config.output_dir) / "runs").glob("*"))
        if key in (read_text(folder.config) or "")
    ]
    # One, unless somebody has copied it.
    return max(found, key=lambda folder: folder.config.stat().st_mtime, default=None)


def finished_best(folder: RunFolder) -> tuple[bool, float | None]:
    """Whether a run is FINISHED, and then its best val/dice."""
    state = read_state(folder.state)
    if state is None or state.status != FINISHED:
        return False, None
    try:
        best = read_progress(folder).best
    except RunError:  # its checkpoint was removed or damaged since
        best = None
    log.info(
        "resume=auto: run %s, which this command began, is FINISHED%s; there is nothing to do",
        folder.run_id,
        "" if best is None else f" with best val/dice {best:.4f}",
    )
    return True, best


def go_on(config: Config, begun: RunFolder | None) -> Config:
    """The settings to go on with the run that the command has begun, or to begin it.

    Waits for a process that still writes the run, such as that of the same job before it was
    queued again. Raises RunError where that does not end, or where the job begins again and again
    without a step in between.
    """
    tags = {**config.tracking.tags, COMMAND_TAG: command_key(config)}
    config = replace(config, resume=None, tracking=replace(config.tracking, tags=tags))
    if begun is None:
        log.info(
            "resume=auto: a new run begins, the first of this command in %s", config.output_dir
        )
        return config
    check_free(begun.state, f"run {begun.run_id} is being trained", FORMER_SECONDS)
    if job(os.environ):
        _count_attempt(begun)
    how = "goes on" if has_checkpoint(begun) else "has no checkpoint yet, and starts again"
    log.info("resume=auto: run %s %s", begun.run_id, how)
    return keep_patch(replace(config, resume=begun.run_id))


def _count_attempt(begun: RunFolder) -> None:
    """Raises RunError, once, when a job has begun too often at the step that the run is at."""
    step = read_progress(begun).step if has_checkpoint(begun) else 0
    before = json.loads(read_text(begun.attempts) or "{}")
    count = before["count"] + 1 if before.get("step") == step else 1
    if count > ATTEMPTS:
        begun.attempts.unlink()
        raise RunError(
            f"run {begun.run_id} has begun {ATTEMPTS} times at step {step} without a further one, "
            f"which would not change: {begun.log} tells why; the job's time must suffice for the "
            "start and a step"
        )
    write_text(begun.attempts, json.dumps({"step": step, "count": count}))


def began_by_itself(config: Config) -> bool:
    """Whether resume=auto began the run: then one that was lost before its first checkpoint, too,
    is gone on with."""
    return COMMAND_TAG in config.tracking.tags


def command_key(config: Config) -> str:
    """What tells this command from others that train into the same folder."""
    names = [config.tracking.experiment, config.tracking.run_name, config.job or job(os.environ)]
    return digest([settings_key(config), *names])


def job(environment: Mapping[str, str]) -> str:
    """The scheduler's job, the same after it was queued again; "" without one."""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"slurm-{array}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    alone = environment.get("SLURM_JOB_ID")
    return f"slurm-{alone}" if alone else ""
