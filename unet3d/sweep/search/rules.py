"""Settings of a search that contradict each other, or that would do nothing: one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from unet3d.config.schema import Config, SweepConfig
from unet3d.config.setting import Effect
from unet3d.config.walk import walk
from unet3d.errors import ConfigError
from unet3d.sweep.configurations import most_seeds, repeats
from unet3d.sweep.search.study import brackets

MAY_CHANGE = ("lr", "optimizer", "loss", "augment")  # groups whose numbers may during a training


def check_search(
    sweep: SweepConfig, epochs: int, adaptive: bool = False, configurations: int | None = None
) -> None:
    """Raise ConfigError for a search that cannot be as it is set.

    epochs: of the longest trial; adaptive: hydra/sweeper=optuna, else a grid of so many
    `configurations`.
    """
    if sweep.racing and adaptive:
        raise ConfigError(
            "sweep.racing: is of grids; leave out hydra/sweeper=optuna, or type "
            "sweep.early_stopping=asha in its place"
        )
    if sweep.perturbation_interval is not None and adaptive:
        raise ConfigError(
            "sweep.perturbation_interval: is of grids; leave out hydra/sweeper=optuna, or type "
            "sweep.early_stopping=hyperband in its place"
        )
    check_race(sweep)
    if sweep.fidelity is not None or sweep.rungs is not None:
        _check_fidelity(sweep, adaptive, configurations)
    if sweep.minimize != "none":
        _check_minimize(sweep, adaptive)
    if sweep.population is not None and not (adaptive and sweep.sampler == "nsga2"):
        raise ConfigError(
            "sweep.population: is of hydra/sweeper=optuna sweep.sampler=nsga2; leave it out"
        )
    if sweep.early_stopping == "hyperband":
        _check_hyperband(sweep, epochs)


def _check_fidelity(sweep: SweepConfig, adaptive: bool, configurations: int | None) -> None:
    if sweep.fidelity is None:
        raise ConfigError(
            "sweep.rungs: is of sweep.fidelity, the setting that has these values; type "
            "sweep.fidelity=data.train_share, or leave it out"
        )
    if not isinstance(sweep.rungs, list) or len(sweep.rungs) < 2:
        raise ConfigError(
            f"sweep.fidelity: {sweep.fidelity} needs two values or more, the cheapest first; type "
            "sweep.rungs=[0.11,0.33,1]"
        )
    if adaptive:
        raise ConfigError(
            "sweep.fidelity: is of grids; leave out hydra/sweeper=optuna, or type "
            "sweep.early_stopping=hyperband in its place"
        )
    if repeats(sweep):
        raise ConfigError(
            "sweep.fidelity: compares single trials; leave out sweep.folds, sweep.seeds and "
            "sweep.racing, and train what is left with them"
        )
    if sweep.early_stopping != "none":
        raise ConfigError(
            "sweep.fidelity: chooses among whole trials; leave out "
            f"sweep.early_stopping={sweep.early_stopping}"
        )
    if configurations is not None and configurations < sweep.reduction_factor:
        raise ConfigError(
            f"sweep.fidelity: of {configurations} trials no one in {sweep.reduction_factor} can be "
            "chosen; type more values, or a smaller sweep.reduction_factor"
        )


def check_fidelity_key(key: str, config: Config, own: Iterable[str]) -> None:
    """Raise ConfigError where sweep.fidelity is no setting that a result depends on, or is typed.

    own: the keys of the overrides of the sweep's trials.
    """
    effects = {name: setting.effect for name, _, setting in walk(config)}
    if effects.get(key, Effect.NONE) is Effect.NONE:
        what = "changes no result" if key in effects else "is not a setting of a training"
        raise ConfigError(f"sweep.fidelity: {key} {what}; data.train_share does, for one")
    if key in own:
        raise ConfigError(f"sweep.fidelity: sets {key} itself, by sweep.rungs; leave it out")


def _check_minimize(sweep: SweepConfig, adaptive: bool) -> None:
    if not adaptive:
        raise ConfigError(
            "sweep.minimize: is of adaptive searches; type hydra/sweeper=optuna, too, or leave it "
            "out: a grid's report has val/dice against device hours in any case"
        )
    if sweep.early_stopping != "none":
        raise ConfigError(
            "sweep.minimize: trials with two objectives are not stopped early, which goes by "
            f"val/dice alone; leave out sweep.early_stopping={sweep.early_stopping}"
        )
    if sweep.sampler == "cmaes":
        raise ConfigError(
            "sweep.sampler: cmaes has one objective; with sweep.minimize type tpe, nsga2, gp, qmc "
            "or random"
        )


def _check_hyperband(sweep: SweepConfig, epochs: int) -> None:
    if repeats(sweep):
        raise ConfigError(
            "sweep.early_stopping: the brackets of hyperband are of single trials; leave out "
            "sweep.folds and sweep.seeds, or type sweep.early_stopping=asha"
        )
    if len(brackets(sweep, epochs)) < 2:
        raise ConfigError(
            f"sweep.early_stopping: hyperband has one bracket alone for epochs={epochs}, "
            f"sweep.min_epochs={sweep.min_epochs} and sweep.reduction_factor="
            f"{sweep.reduction_factor}; type sweep.early_stopping=asha, which is the same, or more "
            "epochs"
        )


def check_population(
    sweep: SweepConfig,
    epochs: int,
    val_every: int,
    members: Sequence[Mapping[str, str]],
) -> None:
    """Raise ConfigError for a population that cannot be as it is set.

    epochs, val_every: of a training; members: the swept settings of each, as typed.
    """
    interval = sweep.perturbation_interval or 0
    key = "sweep.perturbation_interval"
    for name, set_, instead in (
        ("sweep.early_stopping", sweep.early_stopping != "none", "leave it out"),
        ("sweep.racing", sweep.racing, "leave it out"),
        ("sweep.folds", sweep.folds is not None, "train what is found on the folds afterwards"),
        ("sweep.seeds", sweep.seeds > 1, "train what is found with several seeds afterwards"),
        ("sweep.fidelity", sweep.fidelity is not None, "leave one of the two out"),
    ):
        if set_:
            raise ConfigError(f"{name}: is not possible with {key}; {instead}")
    if interval >= epochs:
        raise ConfigError(
            f"{key}: {interval} is not below epochs={epochs}, so nothing would change"
        )
    if interval % val_every:
        raise ConfigError(
            f"{key}: {interval} is no multiple of val_every={val_every}; members are compared by "
            "a validation at its end"
        )
    if len(members) < 2:
        raise ConfigError(f"{key}: needs two trials or more, such as lr=1e-4,3e-4,1e-3,3e-3")
    for name in sorted({name for own in members for name in own}):
        if name.split(".")[0] not in MAY_CHANGE:
            raise ConfigError(
                f"{key}: {name} cannot change in the middle of a training; sweep numbers of "
                f"{', '.join(MAY_CHANGE)} alone"
            )
        for own in members:
            try:
                float(own[name])
            except (KeyError, ValueError):
                raise ConfigError(
                    f"{key}: {name}={own.get(name)} is no number that could be changed a little; "
                    "sweep it without"
                ) from None


def check_population_keys(typed: Iterable[str]) -> None:
    """ConfigError where an override sets what a population sets itself. typed: the keys."""
    for key in ("stop_after", "continue_from"):
        if key in typed:
            raise ConfigError(
                f"{key}: is set by sweep.perturbation_interval for each trial; leave it out"
            )


def check_race(sweep: SweepConfig) -> None:
    """Raise ConfigError for a race that has nothing to test by, or settings that contradict it."""
    if not sweep.racing:
        if sweep.max_seeds is not None:
            raise ConfigError("sweep.max_seeds: is of sweep.racing=true; leave it out")
        return
    if sweep.folds is None and sweep.seeds < 2:
        raise ConfigError(
            "sweep.racing: compares configurations over folds or seeds; type sweep.folds=5, or "
            "sweep.seeds=3, too"
        )
    if sweep.early_stopping != "none":
        raise ConfigError(
            f"sweep.racing: drops configurations itself; leave out sweep.early_stopping="
            f"{sweep.early_stopping}"
        )
    if most_seeds(sweep) < sweep.seeds:
        raise ConfigError(
            f"sweep.max_seeds: {sweep.max_seeds} is below sweep.seeds={sweep.seeds}, with which "
            "each configuration begins"
        )
