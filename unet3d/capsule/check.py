"""`unet3d capsule check=<archive>`: whether a run that was archived comes out again."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from unet3d.capsule import names
from unet3d.capsule.again import Train, settings_here, train_again, weights_again
from unet3d.capsule.archive import Capsule, open_capsule
from unet3d.capsule.compare import (
    DICE,
    LOSSES,
    OUTSIDE,
    Compared,
    Tolerance,
    compare_cases,
    compare_epochs,
    shown_epochs,
    summary,
    worst,
)
from unet3d.capsule.data import check_data, check_there
from unet3d.capsule.environment import environment_differences, machine_differences
from unet3d.capsule.make import FOLDER
from unet3d.config.compose import stored_config
from unet3d.config.schema import CapsuleConfig, Config
from unet3d.disk import check_writable
from unet3d.errors import ConfigError, DataError
from unet3d.files import write_text
from unet3d.preprocessing.preprocess import preprocess
from unet3d.run_folder import RunFolder
from unet3d.sampling.split import make_split
from unet3d.sampling.split_record import SplitRecord, read_record
from unet3d.terminal import print_table
from unet3d.tracking.facts import read_facts
from unet3d.training.case_scores import read_case_scores
from unet3d.training.checkpoint import read_arrays, read_progress

log = logging.getLogger(__name__)


def check_capsule(settings: CapsuleConfig, train: Train) -> int:
    """Check a capsule, say what was found and write it down; returns the exit code, 1 for outside.

    Raises ConfigError, DataError or RunError where it cannot be checked.
    """
    assert settings.check is not None
    capsule = open_capsule(Path(settings.check))
    log.info("manifest: %d files as they were written, of run %s", len(capsule.names), capsule.run)
    check_writable("output_dir", Path(settings.output_dir))
    with TemporaryDirectory(prefix="unet3d-capsule-") as temporary:
        before = RunFolder(Path(temporary) / "run")
        capsule.unpack(before.path, names.RUN)
        initial = Path(temporary) / "initial.weights.h5"
        if names.INITIAL in capsule.names:
            initial.write_bytes(capsule.bytes_of(names.INITIAL))
        stored = stored_config(before.config)
        threads = str(capsule.json_of(names.MACHINE).get("threads", ""))
        config = settings_here(stored, settings, initial if initial.is_file() else None, threads)
        history = capsule.json_of(names.HISTORY)
        epochs = _epochs(settings, config, history)
        environment = environment_differences(capsule, config)
        for line in environment:
            log.info("differs: %s", line)
        if not environment:
            log.info("environment: code and packages are those of the run")
        check_there(config, settings.data.root is not None)
        record = _same_data(capsule, config, before)
        found = _made_again(capsule, config, settings, before, history, epochs, record, train)
    path = Path(settings.output_dir) / FOLDER / f"{capsule.run}-check.json"
    write_text(path, json.dumps({"environment": environment, **found}, indent=1))
    log.info("check: %s; all figures are in %s", found["verdict"], path)
    return 1 if found["verdict"] == OUTSIDE else 0


def _epochs(settings: CapsuleConfig, config: Config, history: Sequence[dict]) -> int:
    """Epochs to train: those of the run, less any that a resume with another length has added."""
    run = min(len(history), config.epochs)
    if len(history) > config.epochs:
        log.info(
            "epochs: the run was extended from %d to %d epochs; the first %d are checked",
            *(config.epochs, len(history), config.epochs),
        )
    if settings.epochs is not None and settings.epochs > run:
        raise ConfigError(f"epochs: {settings.epochs} is more than the {run} of the run")
    return settings.epochs or run


def _same_data(capsule: Capsule, config: Config, before: RunFolder) -> SplitRecord:
    """See that the data are those of the run, and are split alike; builds the store if needed."""
    described, record = capsule.json_of(names.DATA), read_record(before.split)
    assert record is not None

    def check(dataset: Any, inputs: dict[str, str]) -> None:
        check_data(config.data.root, described, dataset, inputs)

    store = preprocess(config.data, check=check)
    log.info("data: %d cases, as they were; digest %s", len(store.inputs), store.digest[:12])
    if make_split(store.cases, config.data, store.source) != record.split:
        raise DataError(
            f"data.root: {config.data.root} holds the data of the capsule, but these settings do "
            "not split them as the run did, which has accepted changed data or is of another "
            "version; it cannot be trained again"
        )
    return record


def _made_again(
    capsule: Capsule,
    config: Config,
    settings: CapsuleConfig,
    before: RunFolder,
    history: Sequence[dict],
    epochs: int,
    record: SplitRecord,
    train: Train,
) -> dict[str, Any]:
    """Train and evaluate again, print how both compare; returns what is written down."""
    found: dict[str, Any] = {"run": capsule.run, "data": record.digest}
    rows: list[Compared] = []
    if settings.train:
        tolerance = Tolerance(settings.loss_tolerance, settings.dice_tolerance)
        folder = train_again(config, capsule.run, epochs, train)
        again = read_progress(folder).history
        rows = compare_epochs(history[:epochs], again, tolerance)
        differ = machine_differences(capsule, read_facts(folder).tags)
        for line in differ:
            log.info("differs: %s", line)
        _print_epochs(rows)
        log.info("training: %s", summary(rows, (*LOSSES, DICE), tolerance))
        found |= {"again": folder.run_id, "machine": differ, "epochs": [*map(asdict, rows)]}
        if epochs == len(history):
            found["final_weights"] = _final_weights(capsule, folder)
            log.info("last weights: %s", found["final_weights"])
    tolerance = Tolerance(settings.weights_tolerance, settings.weights_tolerance)
    scores = read_case_scores(before.case_scores)
    now = weights_again(config, before.best_weights, tuple(scores))
    cases = compare_cases(scores, now, tolerance)
    log.info(
        "best weights on %d validation cases: %s",
        len(scores),
        summary(cases, ("loss", "dice"), tolerance),
    )
    for row in [one for one in cases if one.verdict == OUTSIDE][:5]:
        log.info("outside: %s of %s: %.6g, was %.6g", row.name, row.where, row.now, row.before)
    return found | {"cases": [*map(asdict, cases)], "verdict": worst([*rows, *cases])}


def _print_epochs(rows: Sequence[Compared]) -> None:
    headings = ("epoch", *(f"{name}: run, again" for name in (*LOSSES, DICE)), "verdict")
    print_table(headings, shown_epochs(rows), ("verdict",))


def _final_weights(capsule: Capsule, folder: RunFolder) -> str:
    """How the networks after the last epoch compare: equal, or by how much they differ."""
    with np.load(io.BytesIO(capsule.bytes_of(names.FINAL))) as file:
        before = {name: file[name] for name in file.files}
    now = read_arrays(folder)
    if not before or not before.keys() <= now.keys():
        return "cannot be compared"
    largest = max(float(np.abs(before[n].astype(float) - now[n]).max()) for n in before)
    if largest == 0:
        return "equal bit by bit"
    values = max(float(np.abs(array).max()) for array in before.values())
    return f"differ by at most {largest:.3g}; they and the norms' statistics go up to {values:.3g}"
