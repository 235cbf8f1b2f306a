"""Hydra's Ray launcher, with trials that outlive a lost worker: docs/decisions/0006-sweeps.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra_plugins.hydra_ray_launcher.ray_launcher import RayLauncher
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.unet3d_sweep.composer import Composer

if TYPE_CHECKING:
    from unet3d.config.schema import SweepConfig, SweepRunConfig
    from unet3d.sweep.search.population import Step
    from unet3d.sweep.search.race import RaceSearch
    from unet3d.sweep.sweep_folder import SweepFolder
    from unet3d.sweep.trial import Trial


class RayTrialLauncher(RayLauncher):
    """Launches a batch of trials as one sweep of unet3d.sweep."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the trials; those that an earlier sweep of the name has finished do not run again."""
        from unet3d.config.compose import training_settings
        from unet3d.sweep.configurations import SEED, repeated
        from unet3d.sweep.plan import SweepPlan
        from unet3d.sweep.run import run_sweep
        from unet3d.sweep.search.halving import HalvingSearch
        from unet3d.sweep.search.population import PopulationSearch
        from unet3d.sweep.search.rules import (
            check_fidelity_key,
            check_population,
            check_population_keys,
            check_race,
            check_search,
        )
        from unet3d.sweep.search.search import GridSearch, Search, longest_first, search_words
        from unet3d.sweep.trial import Trial, make_name, split_override, swept_keys

        composed = self.compose(job_overrides[0])
        settings = composed.sweep
        check_race(settings)
        configurations = job_overrides
        interval = settings.perturbation_interval
        if interval is not None:
            check_population_keys(typed_keys(job_overrides))
            job_overrides = [[*own, f"stop_after={interval}"] for own in configurations]
        if (key := settings.fidelity) is not None:
            check_search(settings, composed.epochs, configurations=len(job_overrides))
            check_fidelity_key(key, training_settings(composed), typed_keys(job_overrides))
            job_overrides = [at_rung(own, settings, 0) for own in configurations]
        all_overrides = repeated(job_overrides, settings)
        lists = [filter_overrides(list(overrides)) for overrides in all_overrides]
        swept = swept_keys(lists)
        if settings.racing and SEED not in swept:  # with which it may go on
            swept.append(SEED)
        if key is not None:
            swept.append(key)
        configs = [self.compose(overrides) for overrides in all_overrides]
        check_search(settings, max(config.epochs for config in configs))

        def make_trial(number: int, overrides: Sequence[str], config: SweepRunConfig) -> Trial:
            own = {k: v for k, v in map(split_override, overrides) if k in swept}
            return Trial(
                number, tuple(overrides), own, training_settings(config), own_folder(self.config)
            )

        trials = [
            make_trial(number, overrides, config)
            for number, (overrides, config) in enumerate(
                zip(lists, configs, strict=True), start=initial_job_idx
            )
        ]

        members = [trial.swept for trial in trials]
        if interval is not None:
            check_population(settings, configs[0].epochs, configs[0].val_every, members)

        def trial_at(at: int, rung: int) -> Trial:
            if rung == 0:
                return trials[at]
            overrides = at_rung(configurations[at], settings, rung)
            number = initial_job_idx + rung * len(trials) + at
            typed = filter_overrides(list(overrides))
            return dataclasses.replace(
                make_trial(number, typed, self.compose(overrides)), rung=rung
            )

        later = range(1, len(settings.rungs)) if key is not None else ()

        def trial_of_step(step: Step, end: int) -> Trial:
            if not step.run:
                return trials[step.member]
            own = continued(lists[step.member], step, end)
            return dataclasses.replace(
                make_trial(step.trial, own, self.compose(own)), rung=step.generation
            )

        def make_search(folder: SweepFolder) -> Search:
            if interval is not None:
                return PopulationSearch(
                    members,
                    trial_of_step,
                    configs[0].epochs,
                    settings,
                    folder.lineage,
                    initial_job_idx,
                )
            if settings.racing:
                return self.race(job_overrides, settings, trials, make_trial, folder)
            if key is not None:
                return HalvingSearch(
                    len(trials), trial_at, len(settings.rungs), settings.reduction_factor
                )
            return GridSearch(longest_first(trials), config.sweep)

        config = configs[0]
        all_keys = " ".join(sorted(trial.key for trial in trials))
        name = config.sweep.name or make_name(swept, all_keys, search_words(config.sweep))
        results = run_sweep(
            SweepPlan(
                config=config,
                name=name,
                swept=swept,
                trials=trials,
                total=self.total(len(trials), configs[0]),
                later=[trial_at(0, rung) for rung in later],
                make_search=make_search,
                **self.ray_settings(),
            )
        )
        return [
            JobReturn(
                overrides=overrides,
                status=JobStatus.COMPLETED,
                _return_value=results[trial.number].best if trial.number in results else None,
            )
            for trial, overrides in zip(trials, lists, strict=True)
        ]

    @staticmethod
    def total(trials: int, config: SweepRunConfig) -> int:
        """Trials in all; trials: of the first rung or generation, or of the grid."""
        from unet3d.sweep.search.halving import rung_sizes
        from unet3d.sweep.search.population import generations

        settings = config.sweep
        if settings.perturbation_interval is not None:
            return trials * generations(config.epochs, settings.perturbation_interval)
        if settings.fidelity is None:
            return trials
        return sum(rung_sizes(trials, len(settings.rungs), settings.reduction_factor))

    def race(
        self,
        configurations: Sequence[Sequence[str]],
        settings: SweepConfig,
        trials: Sequence[Trial],
        make_trial: Callable[[int, Sequence[str], SweepRunConfig], Trial],
        folder: SweepFolder,
    ) -> RaceSearch:
        """The trials as a race, in which further seeds are composed as they are needed."""
        from unet3d.sweep.configurations import configuration_name, most_seeds, repeats_of
        from unet3d.sweep.search.race import RaceSearch

        count, folds = len(configurations), settings.folds or 1

        def trial_of(at: int, fold: int, seed: int) -> Trial:
            place = (seed * folds + fold) * count + at
            if place < len(trials):
                return trials[place]
            overrides = repeats_of(configurations[at], settings, seed)[fold]
            number = trials[0].number + place
            return make_trial(number, filter_overrides(list(overrides)), self.compose(overrides))

        names = [configuration_name(trial.swept) for trial in trials[:count]]
        most = most_seeds(settings)
        return RaceSearch(names, trial_of, folds, settings.seeds, most, folder.race)

    def compose(self, overrides: Sequence[str]) -> SweepRunConfig:
        """The typed settings of one trial. Raises ConfigError, as train.py does."""
        return self.composer.compose(overrides)

    @cached_property
    def composer(self) -> Composer:
        """Of Hydra's loader for this command."""
        assert self.hydra_context is not None and self.config is not None
        loader, master = self.hydra_context.config_loader, self.config

        def compose(complete: list[str]) -> DictConfig:
            composed = loader.load_sweep_config(master, complete)
            OmegaConf.set_readonly(composed, False)
            with open_dict(composed):
                del composed["hydra"]
            return composed

        return Composer(loader, master.hydra.job.config_name, compose)

    def ray_settings(self) -> dict[str, Any]:
        """hydra.launcher.ray.init and .remote."""
        ray: DictConfig = self.ray_cfg
        return {
            "ray_init": OmegaConf.to_container(ray.init, resolve=True),
            "ray_remote": OmegaConf.to_container(ray.remote, resolve=True),
        }


def at_rung(own: Sequence[str], settings: SweepConfig, rung: int) -> list[str]:
    """The overrides of a configuration with the rung's value of sweep.fidelity."""
    from unet3d.config.messages import as_typed

    return [*own, f"{settings.fidelity}={as_typed(settings.rungs[rung])}"]


def continued(own: Sequence[str], step: Step, end: int) -> list[str]:
    """The overrides of a member of a population in a later generation."""
    from unet3d.sweep.trial import override_key

    replaced = (*step.values, "stop_after")
    kept = [one for one in own if override_key(one) not in replaced]
    changed = [f"{key}={value}" for key, value in step.values.items()]
    return [*kept, *changed, f"stop_after={end}", f"continue_from={step.run}"]


def typed_keys(overrides: Sequence[Sequence[str]]) -> set[str]:
    """The keys that any of the lists sets."""
    from unet3d.sweep.trial import override_key

    return {override_key(one) for own in overrides for one in own}


def own_folder(config: DictConfig | None) -> str:
    """What --config-dir named on the command line, "" for nothing."""
    assert config is not None
    sources = config.hydra.runtime.config_sources
    return next((source.path for source in sources if source.provider == "command-line"), "")
