"""`unet3d tune`: thresholds and post-processing, chosen on cases that were not trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from unet3d.config.compose import stored_config
from unet3d.config.schema import PostprocessConfig, TuneConfig
from unet3d.errors import RunError
from unet3d.evaluation.held_out import cases_of_validation
from unet3d.evaluation.kept_masks import Segmented, region_of, segment_group
from unet3d.evaluation.parts import Parts, best_steps, measure_parts
from unet3d.evaluation.thresholds import (
    HALF,
    LEVELS,
    best_threshold,
    dice_by_threshold,
    level_counts,
)
from unet3d.files import temporary_folder
from unet3d.inference.ensemble import Ensemble
from unet3d.inference.network import check_runs, run_files, run_targets, start_tensorflow
from unet3d.inference.stale import warn_of_stale
from unet3d.inference.tuned import Tuned, weights_of, write_tuned
from unet3d.sampling.targets import Targets
from unet3d.terminal import print_table

log = logging.getLogger(__name__)
# Even a gain in each of 5 cases may be chance: by the sign test p is 2 * 0.5**5 = 0.06; of 6, 0.03.
LEAST_CASES = 6


def tune(settings: TuneConfig, ensemble: Ensemble) -> Tuned:
    """Choose for each region, keep it with the run or the sweep's configuration, and print it.

    Raises ConfigError, RunError or DataError where that is not possible.
    """
    assert ensemble.tuned is not None
    check_runs(ensemble.runs, settings.output_dir, settings.precision)
    warn_of_stale(ensemble, settings.output_dir, (ensemble.tuned,))
    targets = run_targets(ensemble.runs[0], settings.output_dir)
    groups = cases_of_validation(ensemble, settings.output_dir, settings.changed)
    start_tensorflow(settings.threads)
    with temporary_folder(ensemble.tuned) as folder:
        cases = [one for group in groups for one in segment_group(group, settings, targets, folder)]
        if not cases:
            raise RunError(f"{ensemble.typed} has no validation cases to choose by")
        tuned = choose(cases, targets, groups[0].dataset.ignore)
    tuned = replace(tuned, weights=weights_of(ensemble, settings.output_dir))
    write_tuned(ensemble.tuned, tuned)
    _show(tuned, ensemble)
    _record(ensemble, settings.output_dir)
    return tuned


def choose(cases: Sequence[Segmented], targets: Targets, ignore: int | None) -> Tuned:
    """The choice for each region, region after region and case after case; without `weights`."""
    tuned = Tuned({}, {}, {}, {}, len(cases), {})
    for output in range(1 if targets.exclusive else 0, len(targets.names)):
        name = targets.names[output]
        if targets.exclusive:
            steps, after, before = best_steps(_parts(cases, targets, output, ignore, None))
            tuned.at_half[name] = tuned.at_thresholds[name] = steps
            tuned.dice[name] = {"predicted": before, "postprocessed": after}
            continue
        level = _best_level(cases, targets, output, ignore)
        tuned.thresholds[name] = level / LEVELS
        tuned.dice[name] = {}
        for at, least, chosen in (
            ("0.5", HALF, tuned.at_half),
            ("threshold", level, tuned.at_thresholds),
        ):
            steps, after, before = best_steps(_parts(cases, targets, output, ignore, least))
            chosen[name] = steps
            tuned.dice[name] |= {f"at_{at}": before, f"at_{at}_postprocessed": after}
    return tuned


def _best_level(
    cases: Sequence[Segmented], targets: Targets, output: int, ignore: int | None
) -> int:
    counts = []
    for case in cases:
        found, inside, known = region_of(case, targets, output, ignore)
        if known is not None:
            found, inside = found[known], inside[known]
        counts.append(level_counts(found, inside))
    return best_threshold(dice_by_threshold(np.stack(counts)))


def _parts(
    cases: Sequence[Segmented],
    targets: Targets,
    output: int,
    ignore: int | None,
    least: int | None,
) -> list[Parts]:
    """The parts of each case's mask. least: the level that is in it; None: it is of a class."""
    found = []
    for case in cases:
        mask, inside, known = region_of(case, targets, output, ignore)
        mask = mask if least is None else mask >= least
        found.append(measure_parts(mask, inside, known, case.voxel))
    return found


def _show(tuned: Tuned, ensemble: Ensemble) -> None:
    """Print the choice, and what the mean Dice becomes by it."""
    steps = "post-processing", "dice"
    headings = ("region", "dice", *steps, *(("threshold", *steps) if tuned.thresholds else ()))
    rows = []
    for name, found in tuned.dice.items():
        values = [f"{value:.4f}" for value in found.values()]
        cells = [name, values[0], _shown(tuned.at_half[name]), values[1]]
        if tuned.thresholds:
            cells += [f"{tuned.thresholds[name]:g}: {values[2]}"]
            cells += [_shown(tuned.at_thresholds[name]), values[3]]
        rows.append(cells)
    print_table(headings, rows, ("region", "post-processing"), page=110)
    log.info("chosen on %d cases: %s", tuned.cases, ensemble.tuned)
    if tuned.cases < LEAST_CASES:
        all_folds = "; choose on all folds, by sweep.folds and unet3d tune sweep=<name>"
        log.warning(
            "chosen on %d cases: with fewer than %d even a gain in every one of them may be chance "
            "(sign test, p above 0.05)%s",
            tuned.cases,
            LEAST_CASES,
            "" if ensemble.folds else all_folds,
        )
    log.info(
        "these means are of the cases that it was chosen on; used with thresholds=auto and "
        "postprocess=auto"
    )


def _shown(steps: PostprocessConfig) -> str:
    words = [f"{steps.min_volume:g} mm3 or more"] if steps.min_volume else []
    words += ["largest part"] if steps.largest else []
    return ", ".join(words) or "none"


def _record(ensemble: Ensemble, output_dir: str) -> None:
    """Copy the file to the run, or to that of the sweep, in the tracking store."""
    from unet3d.tracking.connection import connect, record_or_warn

    stored = stored_config(run_files(ensemble.runs[0], output_dir).config)
    config = replace(stored, resume=ensemble.record, output_dir=output_dir)

    def log_all() -> None:
        connection = connect(config) if ensemble.record else None
        if connection is not None:
            connection.client.log_artifact(connection.run, str(ensemble.tuned), "config")

    record_or_warn(log_all)
