"""Commands that train, and those that a user begins with."""

from __future__ import annotations

from unet3d.cli.command import Command
from unet3d.errors import ConfigError


def _init(arguments: list[str]) -> None:
    from unet3d.cli.new_project import init

    init(arguments)


def _train(arguments: list[str]) -> None:
    from unet3d.cli.hydra_start import run_hydra
    from unet3d.cli.programs import train

    run_hydra(train, arguments=arguments)


def _sweep(arguments: list[str]) -> None:
    from unet3d.cli.hydra_start import run_hydra
    from unet3d.cli.programs import trial

    run_hydra(trial, "sweep", arguments)


def _settings(overrides: list[str]) -> None:
    from unet3d.config.reference import reference

    if overrides:
        raise ConfigError(f"{overrides[0]} is not a setting; `unet3d settings` takes none")
    print(reference(), end="")


START = (
    Command(
        "init",
        _init,
        "write a small project of your own: settings, an example data set, a network, a README",
        ("unet3d init", "unet3d init livers", "unet3d init ~/projects/livers"),
        words="[folder]",
    ),
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
            "unet3d sweep -m lr=1e-4,1e-3 sweep.folds=5",
        ),
        by_hydra=True,
    ),
    Command(
        "settings",
        _settings,
        "list every setting of these commands, of train.py and of sweep.py, as docs/settings.md",
        (
            "unet3d settings | less",
            "unet3d settings | grep patch",
            "unet3d settings > docs/settings.md",
        ),
    ),
)
