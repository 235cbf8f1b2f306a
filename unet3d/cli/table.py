"""The `unet3d` command, as a table."""

from __future__ import annotations

import difflib
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from unet3d.cli.user_errors import fail, guarded
from unet3d.config.command_line import program
from unet3d.config.compose import compose_config, from_overrides
from unet3d.config.schema import (
    EvaluateConfig,
    ExportConfig,
    PlanConfig,
    PredictConfig,
    PreprocessConfig,
    RecordConfig,
    RunsConfig,
    ScalingConfig,
    SimulateConfig,
    StudyConfig,
    TuneConfig,
    ViewConfig,
)
from unet3d.errors import ConfigError

if TYPE_CHECKING:
    from unet3d.inference.ensemble import Ensemble


@dataclass(frozen=True)
class Command:
    """A row of the table: what `unet3d <name>` runs, and what its help says.

    run: takes the key=value arguments and returns the exit code, None for 0.
    schema: its own settings. of_training: whether it takes those of train.py too.
    stopped: the line that a signal ends it with. by_hydra: whether Hydra takes the arguments, with
    options and a --help of its own.
    """

    name: str
    run: Callable[[list[str]], int | None]
    description: str
    examples: tuple[str, ...]
    schema: type | None = None
    of_training: bool = False
    stopped: str = "stopped"
    by_hydra: bool = False


# The commands. Each imports what it runs, so that `--help` stays fast.


def _train(arguments: list[str]) -> None:
    from unet3d.cli.hydra_start import run_hydra
    from unet3d.cli.programs import train

    run_hydra(train, arguments=arguments)


def _sweep(arguments: list[str]) -> None:
    from unet3d.cli.hydra_start import run_hydra
    from unet3d.cli.programs import trial

    run_hydra(trial, "sweep", arguments)


def _predict(overrides: list[str]) -> None:
    from unet3d.inference.predict import predict

    settings = from_overrides(PredictConfig, overrides)
    predict(settings, _ensemble(settings))


def _evaluate(overrides: list[str]) -> None:
    from unet3d.evaluation.evaluate import evaluate

    settings = from_overrides(EvaluateConfig, overrides)
    evaluate(settings, _ensemble(settings) if settings.run or settings.sweep else None)


def _tune(overrides: list[str]) -> None:
    from unet3d.evaluation.tune import tune

    settings = from_overrides(TuneConfig, overrides)
    tune(settings, _ensemble(settings))


def _ensemble(settings: PredictConfig | EvaluateConfig | TuneConfig) -> Ensemble:
    """The runs that `run=` or `sweep=` names."""
    from unet3d.inference.ensemble import ensemble_of
    from unet3d.sweep.configurations import find_ensemble

    if (settings.run is None) == (settings.sweep is None):
        raise ConfigError("run: type either run=<id> or sweep=<name>")
    if settings.sweep is not None:
        return find_ensemble(settings.output_dir, settings.sweep, settings.configuration)
    if settings.configuration is not None:
        raise ConfigError("configuration: is of a sweep; type sweep=<name>, or leave it out")
    assert settings.run is not None
    return ensemble_of([run.strip() for run in settings.run.split(",")], settings.output_dir)


def _export(overrides: list[str]) -> None:
    from unet3d.inference.export.export import export

    export(from_overrides(ExportConfig, overrides))


def _view(overrides: list[str]) -> None:
    from unet3d.viewer.view import view

    view(from_overrides(ViewConfig, overrides))


def _download(overrides: list[str]) -> None:
    from unet3d.datasets.download import download

    dataset = download(compose_config(overrides).data)
    print(f"{len(dataset.cases)} cases in {dataset.root}")


def _preprocess(overrides: list[str]) -> int:
    from unet3d.cluster.preprocess_command import build_or_verify

    own, of_training = _separate((f.name for f in fields(PreprocessConfig)), overrides)
    settings = from_overrides(PreprocessConfig, own)
    return build_or_verify(compose_config(of_training), settings)


def _doctor(overrides: list[str]) -> None:
    from unet3d.doctor.doctor import doctor
    from unet3d.doctor.layout import with_found_layout

    overrides = with_found_layout(overrides)
    doctor(compose_config(overrides), overrides)


def _plan(overrides: list[str]) -> None:
    from unet3d.doctor.layout import with_found_layout
    from unet3d.doctor.plan import PRESET, plan

    own, of_training = _separate((f.name for f in fields(PlanConfig)), overrides)
    settings = from_overrides(PlanConfig, own)
    of_training = with_found_layout(of_training)
    chosen = any(text.startswith("experiment=") for text in of_training)
    composed = compose_config(of_training if chosen else [f"experiment={PRESET}", *of_training])
    plan(composed, settings, of_training)


def _runs(overrides: list[str]) -> None:
    from unet3d.sweep.runs import runs

    own, of_training = _separate((f.name for f in fields(RunsConfig)), overrides)
    runs(compose_config(of_training), from_overrides(RunsConfig, own))


def _simulate(overrides: list[str]) -> None:
    from unet3d.scaling.simulate import simulate_command

    names, rest = _separate(("sweep",), overrides)
    rest = [o.replace("scaling.from=", "runs=", 1) for o in rest]
    own, of_training = _separate((f.name for f in fields(SimulateConfig)), rest)
    settings = from_overrides(SimulateConfig, [_as_list("gpus", text) for text in own])
    output_dir = compose_config([o for o in of_training if "," not in o]).output_dir
    sweep = names[-1].partition("=")[2] if names else None
    simulate_command(settings, sweep, of_training, output_dir)


def _scaling(overrides: list[str]) -> None:
    from unet3d.scaling.study import scaling_command

    short = [f.name for f in fields(StudyConfig)]  # trials=8 is scaling.trials=8
    own, of_training = _separate(("devices", "modes", *short), overrides)
    of_study = [o for o in of_training if o.startswith("scaling.")]
    own = [f"scaling.{o}" if o.partition("=")[0] in short else o for o in own] + of_study
    own = [o.replace("scaling.from=", "scaling.runs=", 1) for o in own]
    lists = [_as_list("modes", _as_list("devices", text)) for text in own]
    of_training = [o for o in of_training if o not in of_study]
    scaling_command(from_overrides(ScalingConfig, lists), of_training)


def _as_list(key: str, override: str) -> str:
    """gpus=1,2,4 as a list."""
    name, _, value = override.partition("=")
    return f"{key}=[{value}]" if name == key and not value.startswith("[") else override


def _report(overrides: list[str]) -> None:
    from unet3d.sweep.report.report import report_again

    # `sweep` is a name here, taken as it is typed; in sweep.py it is a group of settings.
    own, of_training = _separate(("sweep",), overrides)
    name = own[-1].removeprefix("sweep=") if own else ""
    print(f"report: {report_again(compose_config(of_training), name)}")


def _record(overrides: list[str]) -> None:
    from unet3d.training.record import record

    record(from_overrides(RecordConfig, overrides))


def _settings(overrides: list[str]) -> None:
    from unet3d.config.reference import reference

    if overrides:
        raise ConfigError(f"{overrides[0]} is not a setting; `unet3d settings` takes none")
    print(reference(), end="")


def _separate(keys: Iterable[str], overrides: list[str]) -> tuple[list[str], list[str]]:
    """The arguments that set one of `keys`, and the others."""
    starts = tuple(f"{key}=" for key in keys)
    own = [override for override in overrides if override.startswith(starts)]
    return own, [override for override in overrides if not override.startswith(starts)]


COMMANDS = (
    Command(
        "train",
        _train,
        "train a network and record the run, as train.py does",
        (
            "unet3d train data=msd data.root=<folder> epochs=100",
            "unet3d train parallel=data nodes=4 batch_size=4",
            "unet3d train resume=<run id>",
        ),
        by_hydra=True,
    ),
    Command(
        "sweep",
        _sweep,
        "search over the settings of a training, as sweep.py does",
        (
            "unet3d sweep -m lr=1e-4,5e-4,1e-3 model.norm=batch,group",
            "unet3d sweep -m experiment=paper_grid data.root=<folder> dry_run=true",
        ),
        by_hydra=True,
    ),
    Command(
        "predict",
        _predict,
        "segment scans with a trained network",
        (
            "unet3d predict run=<id> input=scan.nii.gz output=seg.nii.gz",
            "unet3d predict run=a,b,c input=imagesTs/ output=preds/ tta=true",
            "unet3d predict sweep=<name> input=imagesTs/ output=preds/",
            "unet3d predict run=<id> input=imagesTs/ output=preds/ probabilities=true",
        ),
        schema=PredictConfig,
    ),
    Command(
        "evaluate",
        _evaluate,
        "measure a run on its test cases, the folds of a sweep, or a folder of segmentations",
        (
            "unet3d evaluate run=<id>",
            "unet3d evaluate sweep=<name>",
            "unet3d evaluate pred=preds/ truth=labelsTr/ regions=brats",
        ),
        schema=EvaluateConfig,
    ),
    Command(
        "tune",
        _tune,
        "choose thresholds and post-processing on cases that were not trained on",
        ("unet3d tune run=<id>", "unet3d tune sweep=<name>"),
        schema=TuneConfig,
    ),
    Command(
        "export",
        _export,
        "write a run's network for other programs: SavedModel, ONNX, MLflow",
        (
            "unet3d export run=<id> output=exported format=all",
            "unet3d export run=<id> output=exported format=mlflow register=brain",
        ),
        schema=ExportConfig,
    ),
    Command(
        "view",
        _view,
        "show a segmented case: an overlay, an animated GIF and a page with sliders",
        ("unet3d view image=scan.nii.gz pred=seg.nii.gz truth=label.nii.gz",),
        schema=ViewConfig,
    ),
    Command(
        "download",
        _download,
        "fetch and unpack a data set",
        (
            "unet3d download data=msd_brain",
            "unet3d download data=msd data.root=<folder> data.source.url=<address of an archive>",
        ),
        of_training=True,
        stopped="stopped; what was downloaded is kept, and the same command resumes",
    ),
    Command(
        "preprocess",
        _preprocess,
        "build the store of a data set, here or over a Ray cluster, or verify it",
        (
            "unet3d preprocess data=msd data.root=<folder>",
            "unet3d preprocess data=msd data.root=<folder> verify=true",
            "unet3d preprocess data=msd data.root=<folder> parallel=experiment nodes=8",
        ),
        schema=PreprocessConfig,
        of_training=True,
        stopped="stopped; finished cases are kept, and the same command resumes",
    ),
    Command(
        "doctor",
        _doctor,
        "check the installation and the data set; suggest patch, batch size and spacing",
        ("unet3d doctor", "unet3d doctor data=msd data.root=<folder>"),
        of_training=True,
    ),
    Command(
        "plan",
        _plan,
        "plan patch, batch size, spacing and topology for a data set by nnU-Net's rules",
        (
            "unet3d plan data.root=<folder>",
            "unet3d plan data=nnunet data.root=<folder> data.patch_memory=24 output=recipe.yaml",
        ),
        schema=PlanConfig,
        of_training=True,
    ),
    Command(
        "runs",
        _runs,
        "list runs and sweeps with their state, and close those whose process has ended",
        ("unet3d runs", "unet3d runs close=true output_dir=<folder>"),
        schema=RunsConfig,
        of_training=True,
    ),
    Command(
        "scaling",
        _scaling,
        "measure the speed-up of each parallelism over numbers of devices",
        (
            "unet3d scaling devices=1,2,4,8 modes=experiment,data,hybrid scaling.trials=8 epochs=2",
            "unet3d scaling experiment=paper_grid devices=1,2,4,8,16,32 scaling.fraction=0.05",
        ),
        schema=ScalingConfig,
        of_training=True,
        stopped="stopped; what was measured is kept, and the same command goes on",
    ),
    Command(
        "simulate",
        _simulate,
        "forecast a sweep on clusters of other sizes, for each parallelism; nothing is run",
        (
            "unet3d simulate sweep=<name> gpus=1,2,4,8 gpus_per_node=4",
            "unet3d simulate experiment=paper_grid gpus=1,2,4,8,16,32 weak=true timing=paper",
        ),
        schema=SimulateConfig,
        of_training=True,
    ),
    Command(
        "report",
        _report,
        "write the table and the page of a sweep",
        ("unet3d report sweep=<name>", "unet3d report sweep=<name> output_dir=<folder>"),
        of_training=True,
    ),
    Command(
        "record",
        _record,
        "record a run again that the tracking store has lost, or what it lacks of it",
        (
            "unet3d record run=<id>",
            "unet3d record run=<id> uri=http://<server>:5000 experiment=<name>",
        ),
        schema=RecordConfig,
        stopped="stopped; the same command goes on",
    ),
    Command(
        "settings",
        _settings,
        "list every setting of these commands, of train.py and of sweep.py, as docs/settings.md",
        ("unet3d settings > docs/settings.md",),
    ),
)


def main(arguments: list[str] | None = None) -> None:
    """The `unet3d` command. Leaves by SystemExit where the exit code is not 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return
    name, overrides = arguments[0], arguments[1:]
    command = {command.name: command for command in COMMANDS}.get(name)
    if command is None:
        sys.exit(fail(_not_a_command(name)))
    if command.by_hydra:
        command.run(overrides)
        return
    if "-h" in overrides or "--help" in overrides:
        print(command_help(command))
        return
    if code := guarded(lambda: _start(command, overrides), command.stopped):
        sys.exit(code)


def _start(command: Command, overrides: list[str]) -> int | None:
    from unet3d.logs import log_to_console

    log_to_console()
    return command.run(overrides)


def _not_a_command(name: str) -> str:
    names = [command.name for command in COMMANDS]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(names)}"
    return f"{name} is not a command; {hint}"


def usage() -> str:
    """What `unet3d --help` prints: a line for each command."""
    lines = ["usage: unet3d <command> [key=value ...]", "", "commands"]
    lines += [f"  {command.name:<12} {command.description}" for command in COMMANDS]
    lines += [
        "",
        "`unet3d <command> --help` shows examples and settings.",
    ]
    return "\n".join(lines)


def command_help(command: Command) -> str:
    """What `unet3d <command> --help` prints: purpose, examples and settings."""
    lines = [f"unet3d {command.name}: {command.description}", "", "examples"]
    lines += [f"  {example}" for example in command.examples]
    if command.schema is not None:
        from unet3d.config.help import settings_help

        lines += ["", "settings", settings_help(command.schema)]
    if command.of_training:
        also = "also takes" if command.schema is not None else "takes"
        training = shlex.join(program("train"))
        lines += ["", f"It {also} the settings of a training: `{training} --help` lists them."]
    return "\n".join(lines)
