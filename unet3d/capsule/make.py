"""`unet3d capsule run=<id>`: a finished run as one archive."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from unet3d.capsule import names
from unet3d.capsule.archive import write_archive
from unet3d.capsule.data import described_data
from unet3d.capsule.environment import code_files, environment_files
from unet3d.config.command_line import resume_command
from unet3d.config.compose import stored_config
from unet3d.config.schema import CapsuleConfig, Config, as_dict
from unet3d.disk import check_writable
from unet3d.distributed.run_state import FINISHED
from unet3d.errors import ConfigError, RunError
from unet3d.inference.export.model_card import model_card
from unet3d.inference.network import about_network, read_description, run_files
from unet3d.models import network_name
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sampling.split_record import SplitRecord, read_record
from unet3d.sampling.targets import make_targets
from unet3d.tracking.facts import RunFacts, read_facts
from unet3d.training.checkpoint import read_arrays, read_progress
from unet3d.training.fine_tuning import init_file

log = logging.getLogger(__name__)
PRIVATE = ("host", "mlflow.user", "parallel.placement")  # tags that say where and by whom
FOLDER = "capsules"  # in output_dir


def capsule_path(output_dir: str, run: str) -> Path:
    """Where the capsule of a run is written unless `output` says otherwise."""
    return Path(output_dir) / FOLDER / f"{run}.zip"


def make_capsule(settings: CapsuleConfig) -> Path:
    """Write the archive of a run that has finished; returns its path.

    Raises ConfigError or RunError for a run that does not exist, has not finished or lacks files.
    """
    assert settings.run is not None
    folder = run_folder(settings.output_dir, settings.run)
    if not folder.config.is_file():
        raise RunError(
            f"run: {settings.run} is not a run in {folder.path.parent}; output_dir says where "
            "runs are"
        )
    config, facts = stored_config(folder.config), read_facts(folder)
    _check_finished(folder, facts, settings.output_dir)
    run_files(settings.run, settings.output_dir)  # has weights and description
    record = read_record(folder.split)
    if record is None or not record.inputs:
        raise RunError(
            f"run: {settings.run} has no split with digests of its cases in {folder.split}, as "
            "that of an earlier version; train it again"
        )
    path = Path(settings.output or capsule_path(settings.output_dir, settings.run))
    if path.is_dir():
        raise ConfigError(f"output: {path} is a folder; name a file, as {path / 'capsule.zip'}")
    check_writable("output", path.parent)
    sha256 = write_archive(path, settings.run, _files(folder, config, facts, record))
    size = path.stat().st_size / 1e6
    log.info("capsule: %s, %.1f MB, sha256 %s", path, size, sha256)
    return path


def _check_finished(folder: RunFolder, facts: RunFacts, output_dir: str) -> None:
    if facts.status != FINISHED:
        why = f" ({facts.reason.splitlines()[0]})" if facts.reason else ""
        raise RunError(
            f"run: {folder.run_id} is {facts.status}{why}, and a capsule is of a run that has "
            f"finished; go on with: {resume_command(folder.run_id, output_dir)}"
        )


def _files(
    folder: RunFolder, config: Config, facts: RunFacts, record: SplitRecord
) -> dict[str, bytes | Path]:
    """All files of the capsule, by their names in it."""
    description = read_description(folder.description)
    targets = make_targets(config.data, description.labels)
    about = about_network(folder.run_id, config, description.channels, targets, description.scales)
    history = read_progress(folder).history
    files: dict[str, bytes | Path] = {
        names.CARD: model_card(config, about, folder, network_name(config.model)).encode(),
        names.HISTORY: json.dumps(history, indent=1).encode(),
        names.DATA: _text(described_data(config, record, facts.tags.get("data.store", ""))),
        names.FINAL: _final_weights(folder),
        f"{names.RUN}{folder.config.name}": _public_settings(config),
        f"{names.RUN}{folder.facts.name}": _text(asdict(_public_facts(facts))),
    }
    tables = sorted(folder.test.glob("*.csv")) if folder.test.is_dir() else []
    for path in (
        *(folder.split, folder.description, folder.best_weights, folder.case_scores),
        *(folder.tuned, folder.learning_curves, *tables),
    ):
        if path.is_file():
            files[f"{names.RUN}{path.relative_to(folder.path).as_posix()}"] = path
    files |= code_files(config, folder, facts)
    files |= environment_files(folder, facts)
    if config.init is not None:
        files |= _initial_weights(config, folder)
    return files


def _text(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def _final_weights(folder: RunFolder) -> bytes:
    """The network's variables after the last epoch, without the state of the optimizer."""
    arrays = {k: v for k, v in read_arrays(folder).items() if k.startswith(("model/", "average/"))}
    if not arrays:
        log.info("capsule: without the last weights, which unet3d clean has removed")
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _initial_weights(config: Config, folder: RunFolder) -> dict[str, bytes | Path]:
    """What the network began with."""
    where = str(folder.path.parents[1])
    try:
        path = init_file(replace(config, resume=None, output_dir=where))
    except ConfigError as error:
        log.warning("capsule: it cannot be trained again, as its beginning is gone: %s", error)
        return {}
    return {names.INITIAL: path} if path else {}


def _public_settings(config: Config) -> bytes:
    """The settings, without a password in the address of the tracking store."""
    from omegaconf import OmegaConf

    parts = urlsplit(config.tracking.uri)
    if "@" in parts.netloc:
        uri = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        config = replace(config, tracking=replace(config.tracking, uri=uri))
    return OmegaConf.to_yaml(OmegaConf.create(as_dict(config))).encode()


def _public_facts(facts: RunFacts) -> RunFacts:
    """The facts of a run without names of machines, people and folders."""
    tags = {name: value for name, value in facts.tags.items() if name not in PRIVATE}
    return replace(
        facts, tags=tags, dataset={k: v for k, v in facts.dataset.items() if k != "root"}
    )
