"""`unet3d ensemble`: the trials of a sweep that together segment best."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from unet3d.config.schema import EnsembleConfig
from unet3d.datasets.label_files import read_labels
from unet3d.errors import RunError
from unet3d.evaluation.held_out import HeldOut, cases_of_validation, load_group
from unet3d.inference.ensemble import Ensemble
from unet3d.inference.network import check_runs, run_targets, start_tensorflow
from unet3d.inference.scan import Scan
from unet3d.inference.stale import keep_weights
from unet3d.planning.gantt import table
from unet3d.sampling.targets import Targets
from unet3d.sweep.configurations import Configuration, block_of, configurations
from unet3d.sweep.ensemble.selection import Votes, held_out_gain, select, single_dice, weighted_dice
from unet3d.sweep.ensemble.votes import VoteCounter
from unet3d.sweep.kept_ensemble import ENSEMBLE, NAME, KeptEnsemble, read_ensemble, write_ensemble
from unet3d.sweep.sweep_folder import at_top_rung, find_sweep

log = logging.getLogger(__name__)
LEVEL = 0.05


@dataclass(frozen=True)
class Member:
    """A configuration with one seed. runs: one for each fold, by its label."""

    name: str
    runs: dict[str, str]


def build_ensemble(settings: EnsembleConfig) -> KeptEnsemble:
    """Choose, keep the choice with the sweep, and say whether it is better than the single best.

    Raises RunError where the sweep has fewer than two members, or they cannot be averaged.
    """
    sweep = find_sweep(settings.output_dir, settings.sweep)
    members = members_of(configurations(at_top_rung(sweep.trials())))[: settings.members]
    if len(members) < 2:
        raise RunError(
            f"sweep: {settings.sweep} has {len(members)} configuration with a finished trial on "
            "each fold; an ensemble needs two"
        )
    runs = tuple(run for member in members for run in member.runs.values())
    check_runs(runs, settings.output_dir, settings.precision)
    targets = run_targets(runs[0], settings.output_dir)
    together = Ensemble(runs, f"sweep={settings.sweep}", None)
    groups = cases_of_validation(together, settings.output_dir, settings.changed)
    start_tensorflow(settings.threads)
    votes = [
        vote for group in groups for vote in votes_of(_in_order(group, members), settings, targets)
    ]
    if not votes:
        raise RunError(f"sweep: {settings.sweep} has no validation cases to choose by")
    return _choose(members, votes, settings)


def members_of(found: Sequence[Configuration]) -> list[Member]:
    """Each configuration with each seed that has finished on all folds, the highest mean first."""
    trials = [trial for one in found for trial in one.finished]
    folds = sorted({block_of(trial)[0] for trial in trials})
    scored = []
    for one in found:
        for seed in dict.fromkeys(block_of(trial)[1] for trial in one.finished):
            own = {
                block_of(trial)[0]: trial for trial in one.finished if block_of(trial)[1] == seed
            }
            if sorted(own) == folds:
                name = one.name + (f", seed={seed}" if seed else "")
                runs = {fold: own[fold].result.run_id for fold in folds}
                mean = float(np.mean([own[fold].result.best or 0.0 for fold in folds]))
                scored.append((mean, Member(name, runs)))
    return [member for _, member in sorted(scored, key=lambda pair: -pair[0])]


def _in_order(group: HeldOut, members: Sequence[Member]) -> HeldOut:
    """The group with one run of each member, in the order of these."""
    runs = [run for member in members for run in member.runs.values() if run in group.runs]
    if len(runs) != len(members):
        raise RunError(
            "sweep: its trials do not split the cases alike, so that not all of them can be "
            "compared on the same cases; choose trials of one split, or of sweep.folds"
        )
    return replace(group, runs=tuple(runs))


def votes_of(group: HeldOut, settings: EnsembleConfig, targets: Targets) -> list[Votes]:
    """Predict the validation cases of a split by all members at once."""
    from unet3d.inference.decision import plain_decision
    from unet3d.inference.predict import segment_scan

    networks = load_group(group, settings)
    plain, found = plain_decision(targets), []
    for case in group.cases[: settings.cases]:
        begun = time.perf_counter()
        label, _ = read_labels(group.dataset.file(case.label))
        counter = VoteCounter(targets, label, group.dataset.ignore)
        scan = Scan(case.id, group.dataset.images(case))
        segment_scan(networks, scan, settings.overlap, False, plain, counter.watch)
        found.append(counter.votes())
        log.info(
            "%s: segmented by %d networks after %.1f s; they disagree on %d voxels",
            case.id,
            len(networks),
            time.perf_counter() - begun,
            len(found[-1].truth),
        )
    return found


def _choose(
    members: Sequence[Member], votes: Sequence[Votes], settings: EnsembleConfig
) -> KeptEnsemble:
    counts = select(votes, settings.rounds)
    alone = single_dice(votes).mean(axis=1)
    best = int(alone.argmax())
    gain = held_out_gain(votes, settings.rounds)
    kept = KeptEnsemble(
        weights={
            run: int(count)
            for member, count in zip(members, counts, strict=True)
            for run in member.runs.values()
            if count
        },
        dice=float(weighted_dice(votes, counts).mean()),
        single=members[best].name,
        single_dice=float(alone[best]),
        gain=None if gain is None else gain.mean,
        gain_interval=None if gain is None else gain.interval(),
        better=bool(gain is not None and gain.mean > 0 and gain.p <= LEVEL),
        cases=len(votes),
        members=int((counts > 0).sum()),
    )
    sweep = find_sweep(settings.output_dir, settings.sweep)
    write_ensemble(sweep.path / ENSEMBLE, kept)
    own = read_ensemble(sweep)
    keep_weights(sweep.path / NAME, own, settings.output_dir)
    rows = [
        (member.name, str(count), f"{value:.4f}")
        for member, count, value in zip(members, counts, alone, strict=True)
    ]
    for line in table([("member", "weight", "val/dice alone"), *rows]):
        print(line)
    print(said(kept))
    typed = f"sweep={settings.sweep} configuration={NAME}"
    print(f"use it: unet3d predict {typed} input=<scans> output=<folder>")
    return kept


def said(kept: KeptEnsemble) -> str:
    """Whether the ensemble is better than the single best, in a sentence."""
    if kept.members == 1:
        return (
            f"the choice is {kept.single} alone, with val/dice {kept.dice:.4f}: no other that was "
            f"added to it made it better on the {kept.cases} cases."
        )
    found = (
        f"ensemble of {len(kept.weights)} networks: val/dice {kept.dice:.4f} on the {kept.cases} "
        f"cases that it was chosen by; the single best, {kept.single}, has {kept.single_dice:.4f}."
    )
    if kept.gain is None or kept.gain_interval is None:
        return f"{found} With fewer than 4 cases nothing says what it is worth on others."
    low, high = kept.gain_interval
    gain = f"On cases left out of the choice it gains {kept.gain:+.4f} [{low:+.4f}, {high:+.4f}]"
    if kept.better:
        return f"{found} {gain}."
    return f"{found} {gain}: it is no better than the single best, which is smaller and faster."
