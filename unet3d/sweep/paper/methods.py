"""The methods paragraph: what was trained on what, by which software, and how it was compared."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from unet3d.config.compose import stored_config
from unet3d.config.schema import Config, as_dict, flatten
from unet3d.errors import RunError
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sampling.split_record import read_record
from unet3d.sweep.configurations import configuration_name, own_settings
from unet3d.sweep.paper.tables import escaped
from unet3d.sweep.statistics.estimate import FOLDS, SEEDS_AND_CASES
from unet3d.sweep.sweep_folder import TrialRecord
from unet3d.sweep.verdict.compared import DROPPED
from unet3d.sweep.verdict.verdict import Verdict
from unet3d.tracking.facts import read_facts

NETWORKS = {
    "unet3d": ("a 3D U-Net", "cicek2016"),
    "resunet": ("a residual-encoder U-Net", "isensee2024"),
    "segresnet": ("SegResNet", "myronenko2018"),
    "mednext": ("MedNeXt", "roy2023"),
}
LOSSES = {
    "dice": ("the soft Dice loss", "milletari2016"),
    "dice_ce": ("the sum of soft Dice loss and cross-entropy", "isensee2021"),
    "ce": ("cross-entropy", ""),
    "focal": ("the focal loss", "lin2017"),
    "tversky": ("the Tversky loss", "salehi2017"),
}
OPTIMIZERS = {
    "adam": ("Adam", "kingma2015"),
    "adamw": ("AdamW", "loshchilov2019"),
    "sgd": ("stochastic gradient descent with momentum", ""),
}
DIGITS = 16  # of a digest of 64, which no column is wide enough for
PLUS_MINUS = r"$\pm$"
PLACES = ("tracking", "parallel", "output_dir", "resume", "job")  # that are no part of the result


def methods_paragraph(found: Verdict, run: RunFolder, name: str) -> tuple[str, list[str]]:
    """LaTeX, and the keys of what it cites. run: of the best configuration; name: of the sweep.

    Raises RunError where the run's folder does not say how it was trained.
    """
    if not run.config.is_file():
        raise RunError(f"{run.config}: is not there, so the settings of the sweep are not known")
    config, facts = stored_config(run.config), read_facts(run)
    record = read_record(run.split)
    cited: list[str] = []

    def cite(text: str, *keys: str) -> str:
        known = [key for key in keys if key]
        cited.extend(known)
        return text + (rf"~\cite{{{','.join(known)}}}" if known else "")

    sentences = [
        _data(config, record),
        _training(config, facts.tags, cite),
        _software(facts.tags, cite),
        _comparison(found, cite),
        f"All settings are in \\texttt{{settings.csv}} of sweep \\texttt{{{escaped(name)}}}.",
    ]
    return "\n".join(sentences) + "\n", list(dict.fromkeys(cited))


def _data(config: Config, record: Any) -> str:
    data = config.data
    digest = f" (SHA-256 {record.digest[:DIGITS]}\\ldots)" if record and record.digest else ""
    text = f"The data set is \\texttt{{{escaped(data.name)}}}{digest}."
    if record:
        train, val, test = (
            len(part) for part in (record.split.train, record.split.val, record.split.test)
        )
        how = f"{data.folds}-fold cross-validation" if data.folds else "one split"
        text += (
            f" By {how} (seed {data.split_seed}), a network was trained on {train} cases and "
            f"validated on {val}; {test} test cases were not opened."
        )
    spacing = "as stored" if data.spacing is None else f"{_sizes(data.spacing)}\\,mm"
    return f"{text} Voxel spacing: {spacing}; intensities were normalised ({data.normalize})."


def _training(config: Config, tags: dict[str, str], cite: Any) -> str:
    network = cite(*NETWORKS.get(config.model.name, (f"the network {config.model.name}", "")))
    loss = cite(*LOSSES.get(config.loss.name, (f"the loss {config.loss.name}", "")))
    optimizer = cite(*OPTIMIZERS.get(config.optimizer.name, (config.optimizer.name, "")))
    parameters = tags.get("model.parameters", "")
    size = f" ({int(parameters):,} parameters)" if parameters.isdigit() else ""
    patch = config.data.patch
    window = f"patches of ${_sizes(patch)}$ voxels" if isinstance(patch, list) else "whole volumes"
    return (
        f"We trained {network}{size} with {config.model.norm} normalisation, "
        f"{config.model.filters} filters at full resolution and {config.model.depth} poolings on "
        f"{window}, {config.batch_size} in a batch, for {_count(config.epochs, 'epoch')}. "
        f"We minimised {loss} by {optimizer} with a peak learning rate of {config.lr:g} and a "
        f"{config.schedule.name} schedule in {escaped(config.precision)} arithmetic on "
        f"{escaped(tags.get('device', 'an unknown device'))}, with augmentation "
        f"\\texttt{{{escaped(config.augment.name)}}}. "
        "These are the settings of the best configuration; the others differ as the table says."
    )


def _software(tags: dict[str, str], cite: Any) -> str:
    versions, commit = tags.get("versions", ""), tags.get("mlflow.source.git.commit", "")
    code = f" at commit {commit[:12]}" if commit else ""
    if commit and tags.get("git.dirty") == "true":
        code += " with local changes"
    stated = f" ({escaped(versions)})" if versions else ", whose versions these runs did not record"
    libraries = cite("TensorFlow", "abadi2016")
    trials = cite("Ray", "moritz2018")
    return f"The software is unet3d{code} on {libraries} and {trials}{stated}."


def _comparison(found: Verdict, cite: Any) -> str:
    table, basis = found.table, found.rows[0].estimate.basis
    folds = f"{len(table.folds)} folds" if len(table.folds) > 1 else "one split"
    seeds = f" and {table.seeds} seeds" if table.seeds > 1 else ""
    text = (
        f"{_count(len(found.rows), 'configuration', ' was', ' were')} trained on {folds}{seeds} "
        f"({_count(table.trials, 'trial')}). Each trial is scored by the mean Dice of its "
        "validation cases at its best epoch."
    )
    if basis == FOLDS:
        text += " Intervals are Student's over the means of the folds"
        text += cite(", whose overlap in training cases makes them rather narrow", "bengio2004")
        text += "."
    elif basis == SEEDS_AND_CASES:
        how = cite("seeds and cases both as random", "dorfman1992", "banerjee1960")
        text += f" Intervals take {how}."
    else:
        text += " Intervals are over cases and do not cover another seed or split."
    if len(found.rows) > 1:
        how = cite("Holm's correction for all pairs", "holm1979")
        text += (
            f" Configurations were compared by paired $t$ tests with {how} at the 5\\,\\% level."
        )
        text += " " + cite("Figures of average ranks follow Dem\\v{s}ar", "demsar2006") + "."
    if any(row.standing == DROPPED for row in found.rows):
        text += " " + cite(
            "Configurations that fell behind were dropped by racing", "birattari2002"
        )
        text += "."
    return f"{text} The result: {escaped(found.answer).replace('+-', PLUS_MINUS)}."


def _count(number: int, noun: str, one: str = "", several: str = "") -> str:
    return f"{number} {noun}{'s' * (number != 1)}{one if number == 1 else several}"


def _sizes(values: Sequence[float]) -> str:
    return r" \times ".join(f"{value:g}" for value in values)


def settings_table(trials: Sequence[TrialRecord], output_dir: str) -> str:
    """CSV: every setting that the result depends on, a column for each configuration."""
    found: dict[str, dict[str, str]] = {}
    for trial in trials:
        run = run_folder(output_dir, trial.result.run_id)
        if trial.result.state == "finished" and run.config.is_file():
            settings = flatten(as_dict(stored_config(run.config)))
            name = configuration_name(own_settings(trial.swept))
            found.setdefault(
                name, {k: str(v) for k, v in settings.items() if k.split(".")[0] not in PLACES}
            )
    keys = list(dict.fromkeys(key for one in found.values() for key in one))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["setting", *found])
    rows.writerows([key, *(one.get(key, "") for one in found.values())] for key in keys)
    return text.getvalue()
