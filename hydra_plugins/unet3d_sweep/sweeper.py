"""hydra/sweeper=optuna: an adaptive search by Optuna's ask and tell, a trial per free slot."""

from __future__ import annotations

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.core.plugins import Plugins
from hydra.core.utils import filter_overrides
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Keys with choice(), range() or interval() are searched, all others are fixed."""

    def __init__(self, params: DictConfig | None = None):
        self.params = params

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Called by Hydra."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Search sweep.trials times; returns how each trial of this command ended."""
        from hydra_plugins.unet3d_sweep.launcher import RayTrialLauncher, own_folder
        from unet3d.config.compose import training_settings
        from unet3d.errors import ConfigError
        from unet3d.sweep.configurations import FOLD, SEED, repeats, repeats_of
        from unet3d.sweep.plan import SweepPlan
        from unet3d.sweep.run import run_sweep
        from unet3d.sweep.search.repeated import RepeatedSearch
        from unet3d.sweep.search.rules import check_search
        from unet3d.sweep.search.search import OptunaSearch, Search, search_words
        from unet3d.sweep.search.study import log_brackets, make_study
        from unet3d.sweep.sweep_folder import SweepFolder
        from unet3d.sweep.trial import Trial, make_name, split_override

        launcher = self.launcher
        if not isinstance(launcher, RayTrialLauncher):
            raise ConfigError(
                "hydra/launcher: hydra/sweeper=optuna needs hydra/launcher=ray_trials"
            )
        assert self.hydra_context is not None
        given = [f"{key!s}={value}" for key, value in (self.params or {}).items()]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        parsed = parser.parse_overrides([*given, *arguments])
        # What is typed replaces what a preset searches over.
        overrides = list({override.get_key_element(): override for override in parsed}.values())
        searched = {
            o.get_key_element(): distribution(o) for o in overrides if o.is_sweep_override()
        }
        fixed = [
            f"{o.get_key_element()}={o.get_value_element_as_str()}"
            for o in overrides
            if o.get_key_element() not in searched
        ]
        if not searched:
            raise ConfigError(
                "hydra/sweeper=optuna: nothing to search for; write lr=interval(1e-5,1e-2), "
                "choice(...) or range(...)"
            )

        def make_trial(number: int, params: dict[str, Any]) -> Trial:
            own = [f"{key}={_typed(value)}" for key, value in params.items()]
            config = launcher.compose([*fixed, *own])
            swept = {key.lstrip("+~"): _typed(value) for key, value in params.items()}
            typed = tuple(filter_overrides([*fixed, *own]))
            return Trial(number, typed, swept, training_settings(config), own_folder(self.config))

        corners = [make_trial(0, {k: end(d) for k, d in searched.items()}) for end in (_low, _high)]
        config = launcher.compose(corners[0].overrides)
        settings = config.sweep
        epochs = max(corner.config.epochs for corner in corners)
        check_search(settings, epochs, adaptive=True)
        several = repeats(settings)
        each = len(repeats_of(corners[0].overrides, settings))

        def repeat(proposal: Trial) -> list[Trial]:
            found = []
            for at, overrides in enumerate(repeats_of(proposal.overrides, settings)):
                added = dict(map(split_override, overrides[len(proposal.overrides) :]))
                varied = {k: v for k, v in added.items() if k in (FOLD, SEED)}
                composed = training_settings(launcher.compose(overrides))
                number, own = proposal.number * each + at, {**proposal.swept, **varied}
                one = Trial(number, tuple(overrides), own, composed, own_folder(self.config))
                found.append(one)
            return found

        swept = list(corners[0].swept)
        space = " ".join(f"{key}={searched[key]}" for key in sorted(searched))
        name = config.sweep.name or make_name(swept, space + corners[0].key, search_words(settings))

        def make_search(folder: SweepFolder) -> Search:
            url = settings.storage or f"sqlite:///{folder.study}"
            study = make_study(settings, name, url, epochs)
            log_brackets(settings, epochs, settings.trials)
            found = OptunaSearch(study, searched, make_trial, settings.trials, settings.minimize)
            return RepeatedSearch(found, repeat, each, settings) if several else found

        known = [one for corner in corners for one in repeat(corner)] if several else corners
        return run_sweep(
            SweepPlan(
                config=config,
                name=name,
                swept=swept,
                trials=known,
                total=settings.trials * each,
                make_search=make_search,
                **launcher.ray_settings(),
            )
        )


def distribution(override: Override) -> Any:
    """Optuna's distribution for Hydra's choice(), range() and interval(), also tag(log, ...).

    Raises ConfigError for a sweep that has none.
    """
    from optuna import distributions as of

    from unet3d.errors import ConfigError

    value: Any = override.value()
    key = override.get_key_element()
    if isinstance(value, IntervalSweep):
        kind: Any = of.IntDistribution if _whole(value.start, value.end) else of.FloatDistribution
        try:
            return kind(value.start, value.end, log="log" in value.tags)
        except ValueError as error:
            raise ConfigError(f"{key}: {override.input_line} is not possible ({error})") from error
    if isinstance(value, RangeSweep) and not value.shuffle:
        steps: list[Any] = list(override.sweep_iterator())
        if _whole(*steps):
            return of.IntDistribution(steps[0], steps[-1], step=int(value.step))
        return of.FloatDistribution(steps[0], steps[-1], step=float(value.step))
    choices: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
    return of.CategoricalDistribution(choices)


def _whole(*values: Any) -> bool:
    return all(isinstance(value, int) for value in values)


def _typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _low(distribution: Any) -> Any:
    choices = getattr(distribution, "choices", None)
    return choices[0] if choices else distribution.low


def _high(distribution: Any) -> Any:
    choices = getattr(distribution, "choices", None)
    return choices[-1] if choices else distribution.high
