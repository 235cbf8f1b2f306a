"""What a capsule's run was, made again here: its training, and its best weights on its cases."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.config.schema import CapsuleConfig, Config
from unet3d.errors import ConfigError, RunError
from unet3d.run_folder import RunFolder
from unet3d.tracking.facts import read_facts

TAG = "capsule.check"
Train = Callable[[Config], Any]  # as train.py does


def settings_here(
    config: Config, settings: CapsuleConfig, initial: Path | None, threads: str = ""
) -> Config:
    """The run's settings for this machine: where data, store, record and beginning are.

    initial: the file of the weights to begin with. threads: of TensorFlow that the run had. Nothing
    changes that shapes the result.
    """
    output, before = Path(settings.output_dir), Path(config.output_dir)

    def moved(path: str) -> str:
        """A path below the former output_dir, below the one of today."""
        inside = Path(path).is_relative_to(before)
        return str(output / Path(path).relative_to(before)) if inside else path

    root = moved(config.data.root) if config.data.phantom is not None else config.data.root
    data = replace(
        config.data,
        root=settings.data.root or root,
        store=str(output / "stores"),
        stage_to=None,
        changed="refuse",
    )
    tracking = replace(
        config.tracking,
        name="none" if config.tracking.name == "none" else "mlflow",
        uri=f"sqlite:///{output}/mlflow.db",
        artifacts=str(output / "mlartifacts"),
        parent=None,
        run_name=None,
        host=None,
    )
    if config.init is not None and initial is None and settings.train:
        raise RunError(
            f"init: the capsule lacks the weights of {config.init} that the run began with, so "
            "that it cannot be trained again; type train=false"
        )
    if config.continue_from is not None and settings.train:
        raise RunError(
            f"continue_from: the run began with the state of {config.continue_from}, which no "
            "capsule has, so that it cannot be trained again; type train=false"
        )
    return replace(
        config,
        continue_from=None,
        data=data,
        tracking=tracking,
        init=str(initial) if initial else None,
        parallel=replace(config.parallel, baseline=None),
        output_dir=str(output),
        resume=None,
        job=None,
        profile_steps=0,
        threads=settings.threads or config.threads or (int(threads) if threads.isdigit() else None),
    )


def train_again(config: Config, run: str, epochs: int, train: Train) -> RunFolder:
    """Train the first `epochs` of the run with its schedule; returns the new run's folder.

    Raises what a training raises.
    """
    token = f"{run}-{secrets.token_hex(4)}"
    tags = {"capsule.of": run, TAG: token}
    again = replace(
        config,
        stop_after=epochs,
        tracking=replace(config.tracking, tags=tags),
    )
    train(again)
    for path in (Path(config.output_dir) / "runs").iterdir():
        folder = RunFolder(path)
        if read_facts(folder).tags.get(TAG) == token:
            return folder
    raise RunError(f"output_dir: the run made again is not in {config.output_dir}/runs")


def weights_again(
    config: Config, weights: Path, cases: tuple[str, ...]
) -> dict[str, dict[str, float]]:
    """Loss and Dice of each case with these weights, as `validation.csv` has them.

    Raises ConfigError where the cases are not in the data.
    """
    from unet3d.distributed.worker import SINGLE_WORKER
    from unet3d.inference.weights import load_weights
    from unet3d.training.setup import make_setup
    from unet3d.training.validate import Validation

    alone = replace(config.parallel, name="none", devices=None)
    setup = make_setup(replace(config, parallel=alone, nodes=1, init=None), SINGLE_WORKER)
    if missing := [case for case in cases if case not in setup.store.cases]:
        raise ConfigError(f"data.root: {config.data.root} has no case {missing[0]}")
    load_weights(setup.state.model, weights)
    found = {}
    for results in Validation(setup).results(cases):
        for one in results:
            counted = one.dice[1:] if setup.targets.exclusive else one.dice
            named = zip(setup.targets.names, one.dice, strict=True)
            each = {f"dice_{name}": float(value) for name, value in named}
            found[one.case] = {"loss": float(one.loss), "dice": float(np.mean(counted)), **each}
    return found
