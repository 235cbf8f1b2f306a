"""Cases that networks have not trained on: of a test part, or of each network's own fold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from unet3d.config.compose import stored_config
from unet3d.config.schema import Config, EnsembleConfig, EvaluateConfig, TuneConfig
from unet3d.datasets.dataset import Case, Dataset
from unet3d.datasets.read import read_dataset
from unet3d.errors import ConfigError, RunError
from unet3d.inference.ensemble import Ensemble
from unet3d.inference.network import TrainedNetwork
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.store_key import case_identities, input_identity
from unet3d.sampling.find_split import recorded_split
from unet3d.sampling.split import Split, make_split
from unet3d.sampling.split_record import check_cases, check_description, log_changes

ACCEPT = "changed=accept"


@dataclass(frozen=True)
class HeldOut:
    """Cases that none of `runs`, whose mean segments them, has trained on.

    geometry: how exactly the files of a case lie on each other, as data.geometry. weights: of runs
    in the mean.
    """

    runs: tuple[str, ...]
    dataset: Dataset
    cases: tuple[Case, ...]
    geometry: str
    weights: dict[str, int] = field(default_factory=dict)


def load_group(
    group: HeldOut, settings: EvaluateConfig | TuneConfig | EnsembleConfig
) -> list[TrainedNetwork]:
    """The networks of a group's runs, each with its weight in the mean."""
    from unet3d.inference.predict import load_ensemble

    return load_ensemble(
        group.runs, settings.output_dir, settings.batch_size, settings.precision, group.weights
    )


@dataclass(frozen=True)
class Kept:
    """What a run has kept of its data: its split, and today's files of one part of it."""

    run: str
    split: Split
    dataset: Dataset
    cases: tuple[Case, ...]
    geometry: str


def cases_of_test(ensemble: Ensemble, output_dir: str, changed: str) -> list[HeldOut]:
    """The test cases of the runs, which must be the same of all.

    Raises ConfigError where there are none, DataError where they have changed since.
    """
    kept = [_kept(run, output_dir, changed, "test") for run in ensemble.runs]
    first = kept[0]
    for other in kept[1:]:
        if other.split.test != first.split.test:
            raise RunError(
                f"run: {other.run} has other test cases than {first.run}, which one of the two may "
                "have trained on; evaluate each alone"
            )
    if not first.cases:
        raise ConfigError(
            "data.split.test: the run kept no test cases; segment other scans with unet3d predict "
            "and evaluate those with pred=<folder> truth=<folder>"
        )
    weights = ensemble.weight_of
    return [HeldOut(ensemble.runs, first.dataset, first.cases, first.geometry, weights)]


def cases_of_validation(ensemble: Ensemble, output_dir: str, changed: str) -> list[HeldOut]:
    """The validation cases of the runs; those of one split, as of several seeds, go together.

    So each case of a cross-validation is segmented by the runs of the one fold that left it out.
    Raises RunError where folds share cases.
    """
    groups: dict[tuple[str, ...], list[Kept]] = {}
    for run in ensemble.runs:
        kept = _kept(run, output_dir, changed, "val")
        groups.setdefault(kept.split.val, []).append(kept)
    seen: dict[str, str] = {}
    found = []
    for group in groups.values():
        first = group[0]
        trained = {case for kept in group for case in kept.split.train}
        for case in first.split.val:
            if case in seen or case in trained:
                raise RunError(
                    f"run: {first.run} and {seen.get(case, group[-1].run)} do not split the cases "
                    f"alike, so that {case} would not be out of their folds; tune each run alone"
                )
            seen[case] = first.run
        runs = tuple(one.run for one in group)
        weights = {run: ensemble.weight_of[run] for run in runs}
        found.append(HeldOut(runs, first.dataset, first.cases, first.geometry, weights))
    return found


def _kept(run: str, output_dir: str, changed: str, part: str) -> Kept:
    """The split of a run, and the cases of a part, checked to be what they were at its start."""
    from unet3d.inference.network import run_files

    stored = stored_config(run_files(run, output_dir).config)
    data = replace(stored.data, changed=changed)
    config = replace(stored, resume=run, output_dir=output_dir, data=data)
    dataset = read_dataset(data)
    split = _split(config, dataset, part)
    names = set(getattr(split, part))
    cases = tuple(case for case in dataset.cases if case.id in names)
    return Kept(run, split, dataset, cases, data.geometry)


def _split(config: Config, dataset: Dataset, part: str) -> Split:
    record = recorded_split(config)
    if record is None:
        return make_split(preprocess(config.data).cases, config.data, dataset)
    names = getattr(record.split, part)
    kept = replace(dataset, cases=tuple(case for case in dataset.cases if case.id in set(names)))
    check_description(dataset, config, ACCEPT)
    found = case_identities(input_identity(kept))
    differ = check_cases(record, names, found, config, ACCEPT)
    log_changes(record, differ, (case.id for case in dataset.cases), config)
    return record.split
