"""Commands about what runs and sweeps have left: their records, pages and files."""

from __future__ import annotations

from unet3d.cli.arguments import separate_own
from unet3d.cli.command import Command
from unet3d.config.compose import compose_config, from_overrides
from unet3d.config.schema import CapsuleConfig, CleanConfig, RecordConfig, RunsConfig, UiConfig
from unet3d.errors import ConfigError


def _runs(overrides: list[str]) -> None:
    from unet3d.sweep.runs import runs

    own, of_training = separate_own(RunsConfig, overrides)
    runs(compose_config(of_training), from_overrides(RunsConfig, own))


def _clean(overrides: list[str]) -> None:
    from unet3d.sweep.clean import clean

    own, of_training = separate_own(CleanConfig, overrides)
    clean(compose_config(of_training), from_overrides(CleanConfig, own))


def _ui(overrides: list[str]) -> None:
    from unet3d.sweep.ui import ui

    own, of_training = separate_own(UiConfig, overrides)
    ui(compose_config(of_training), from_overrides(UiConfig, own))


def _record(overrides: list[str]) -> None:
    from unet3d.training.record import record

    record(from_overrides(RecordConfig, overrides))


def _capsule(overrides: list[str]) -> int | None:
    settings = from_overrides(CapsuleConfig, overrides)
    if (settings.run is None) == (settings.check is None):
        raise ConfigError("run: type either run=<id> or check=<archive>")
    if settings.run is not None:
        from unet3d.capsule.make import make_capsule

        make_capsule(settings)
        return None
    from unet3d.capsule.check import check_capsule
    from unet3d.cli.programs import train

    return check_capsule(settings, lambda config: train(config, []))


RECORDS = (
    Command(
        "runs",
        _runs,
        "list runs, sweeps and studies: state, best value, age; close those whose process ended",
        ("unet3d runs", "unet3d runs output_dir=<folder>", "unet3d runs close=true"),
        schema=RunsConfig,
        of_training=True,
    ),
    Command(
        "ui",
        _ui,
        "open MLflow's pages in the browser: all runs, or the trials of a sweep side by side",
        ("unet3d ui", "unet3d ui sweep=<name>", "unet3d ui sweep=<name> page=table open=false"),
        schema=UiConfig,
        of_training=True,
    ),
    Command(
        "clean",
        _clean,
        "show what nothing needs any more, and remove it with yes=true",
        ("unet3d clean", "unet3d clean what=resume days=30", "unet3d clean yes=true"),
        schema=CleanConfig,
        of_training=True,
    ),
    Command(
        "record",
        _record,
        "record a run again that the tracking store has lost, or what it lacks of it",
        (
            "unet3d record run=<id>",
            "unet3d record run=<id> output_dir=<folder>",
            "unet3d record run=<id> uri=http://<server>:5000 experiment=<name>",
        ),
        schema=RecordConfig,
        stopped="stopped; the same command goes on",
    ),
    Command(
        "capsule",
        _capsule,
        "write a run with all that it was made from as one archive, or check that it comes out "
        "again",
        (
            "unet3d capsule run=<id>",
            "unet3d capsule check=outputs/capsules/<id>.zip",
            "unet3d capsule check=run.zip data.root=<folder> epochs=2",
        ),
        schema=CapsuleConfig,
        stopped="stopped; a training that had begun is a run of its own",
    ),
)
