"""The trials of a sweep as they ended, best first: for the terminal, MLflow's note, the report."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from unet3d.config.messages import as_typed
from unet3d.config.schema import AUTO
from unet3d.config.setting import Effect
from unet3d.config.walk import walk
from unet3d.errors import RunError
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sweep.format import clock, last_line, number_or_dash
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord
from unet3d.sweep.trial import REPLICAS, TrialResult
from unet3d.terminal import print_table
from unet3d.tracking.pages import compare_page

DIVIDED = "name: data\n"  # of the group parallel, in a run's settings
OURS = re.compile(r"val/(loss|dice)(_|$)")


def read_results(sweep: SweepFolder) -> list[TrialRecord]:
    """All trials that have started, the best val/dice first, of the highest rung before others."""
    output_dir = sweep.path.parents[1]
    records = [
        replace(r, command=_as_it_was(r.command, run_folder(output_dir, r.result.run_id)))
        for r in sweep.trials()
    ]
    order = [(r.result.best is None, -r.rung, -(r.result.best or 0), r.number) for r in records]
    return [record for _, record in sorted(zip(order, records, strict=True), key=lambda p: p[0])]


def _as_it_was(command: str, run: RunFolder) -> str:
    """The command with what only the run knows, so that alone it gives the same result again.

    That is the patch which data.patch=auto has chosen, and in sweeps of earlier versions, whose
    commands lacked them, the settings that divide the training among replicas.
    """
    from unet3d.config.compose import stored_config

    try:
        words = shlex.split(command)
        kept = run.config.read_text()
        if f"data.patch={AUTO}" not in words and DIVIDED not in kept:
            return command  # without reading the settings, a tenth of a second a run
        config = stored_config(run.config)
    except (OSError, ValueError, RunError):  # the report says what can be known
        return command
    patch = f"data.patch={as_typed(config.data.patch)}"
    words = [patch if word == f"data.patch={AUTO}" else word for word in words]
    if config.parallel.name == "data" and "parallel=data" not in words:
        typed = {word.partition("=")[0] for word in words}
        found = {key: (value, setting) for key, value, setting in walk(config)}
        words.append("parallel=data")
        for key, (value, setting) in found.items():
            divides = key in REPLICAS or (
                key.startswith("parallel.") and setting.effect is Effect.RESULT
            )
            if divides and key not in typed and value != setting.default:
                words.append(f"{key}={as_typed(value)}")
    return shlex.join(words)


def own_metrics(records: Iterable[TrialRecord]) -> list[str]:
    """The keys of validation.metrics that the trials have recorded, without those of the outputs.

    They are shown at the best epoch, beside the val/dice by which that was chosen.
    """
    keys = {key for record in records for epoch in record.epochs for key in epoch["metrics"]}
    own = {key for key in keys if key.startswith("val/") and not OURS.match(key)}
    return sorted(k for k in own if not any(k.startswith(f"{other}_") for other in own))


def at_best(record: TrialRecord, keys: Iterable[str]) -> list[float | None]:
    """The values of these metrics in the best epoch; None where it has none."""
    epochs = [e["metrics"] for e in record.epochs if e["epoch"] == record.result.best_epoch]
    return [epochs[0].get(key) if epochs else None for key in keys]


def counted(results: Iterable[TrialResult]) -> dict[str, int]:
    """How many ended in each state."""
    return dict(Counter(result.state for result in results))


def print_results(records: list[TrialRecord]) -> None:
    """The table on the terminal."""
    own = own_metrics(records)
    headings = ("trial", "settings", "state", "val/dice", *own)
    rows = [
        (
            str(record.number),
            record.name,
            record.result.state,
            number_or_dash(record.result.best),
            *(number_or_dash(value) for value in at_best(record, own)),
            f"{record.result.best_epoch} of {record.result.epochs}",
            clock(record.result.seconds),
            str(record.result.attempts),
            record.result.run_id[:8],
        )
        for record in records
    ]
    print_table((*headings, "best epoch", "time", "tries", "run"), rows, ("settings",), page=120)
    for record in records:
        if record.result.error:
            print(f"trial {record.number} ({record.name}): {last_line(record.result.error)}")
    if records and records[0].result.best is not None:
        print(f"best: {records[0].command}", flush=True)


def note(records: list[TrialRecord], experiment: str, found: Sequence[str] = ()) -> str:
    """The table in Markdown, for the page of the parent run in MLflow's `experiment`.

    found: lines before it, of the configurations.
    """
    ids = [r.result.run_id for r in records if r.result.run_id]
    lines = [*found, f"[Compare all trials]({compare_page(ids, experiment)})", ""]
    own = own_metrics(records)
    headings = ["trial", "settings", "state", "val/dice", *own, "best epoch"]
    lines += [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    for record in records:
        result = record.result
        values = [number_or_dash(value) for value in (result.best, *at_best(record, own))]
        cells = [str(record.number), record.name, result.state, *values]
        lines.append(f"| {' | '.join(cells)} | {result.best_epoch} of {result.epochs} |")
    if records and records[0].result.best is not None:
        lines += ["", "Best:", "```", records[0].command, "```"]
    return "\n".join(lines)
