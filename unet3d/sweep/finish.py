"""The end of a sweep: its tables and report, its record closed, and how the command ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from unet3d.distributed.stop import StopRequest
from unet3d.errors import RunStopped
from unet3d.sweep.budget import Budget
from unet3d.sweep.configuration_runs import ConfigurationRuns
from unet3d.sweep.forecast.forecast import comparison
from unet3d.sweep.plan import SweepPlan
from unet3d.sweep.sweep_folder import SweepFolder, TrialRecord
from unet3d.sweep.trial import TrialResult
from unet3d.sweep.ui import compare_hint
from unet3d.tracking.connection import record_or_warn
from unet3d.tracking.sweep import SweepRecord

log = logging.getLogger(__name__)
LONGEST_TAG = 5000  # characters


def finish(
    plan: SweepPlan,
    folder: SweepFolder,
    record: SweepRecord | None,
    groups: ConfigurationRuns | None,
    stop: StopRequest,
    results: dict[int, TrialResult],
    budget: Budget | None,
) -> None:
    """Print the table, write the report, close the parent run; raises RunStopped as run_sweep."""
    from unet3d.sweep.report.configuration_table import markdown, print_verdict
    from unet3d.sweep.report.cost import cost_sentence
    from unet3d.sweep.report.front import front_sentence
    from unet3d.sweep.report.lineage import lineage_sentence
    from unet3d.sweep.report.memory import memory_sentence
    from unet3d.sweep.report.report import read_findings, write_report
    from unet3d.sweep.report.results import counted, note, print_results

    findings = read_findings(folder, plan.config.output_dir)
    records, found = findings.trials, findings.verdict
    print_results(records)
    if found is not None:
        print_verdict(found)
    report = write_report(folder, plan.config.output_dir, findings)
    cost = cost_sentence(records, plan.config.sweep.budget)
    front = front_sentence(records, plan.config.sweep.minimize)
    lineage = lineage_sentence(findings.lineage, records)
    for line in (comparison(folder), cost, memory_sentence(records), front, lineage):
        if line:
            log.info("%s", line)
    log.info("report: %s", report)
    counts = counted(results.values())
    status = "KILLED" if stop.asked else "FAILED" if counts.get("failed") else "FINISHED"
    if record is not None:
        log.info("compare: %s", compare_hint(plan.config, folder, record.experiment))
        record_or_warn(record.log_folder, report.parent)
        if groups is not None:
            groups.close(found)
        texts = {
            "sweep.answer": found.answer if found is not None else "",
            "sweep.front": front,
            "sweep.lineage": lineage,
            "sweep.ended": budget.reason if budget is not None else "",
        }
        tags = {name: text[:LONGEST_TAG] for name, text in texts.items() if text}
        lines = markdown(found) if found is not None else []
        tags["mlflow.note.content"] = note(records, record.experiment, lines)
        record_or_warn(record.close, status, tags, _metrics(records, counts))
    _end(plan, status, counts, stop, len(results), budget)


def _metrics(records: Sequence[TrialRecord], counts: Mapping[str, int]) -> dict[str, float]:
    """How many trials ended how, and the best value of any; records: best first."""
    metrics = {f"sweep/{state}": float(count) for state, count in counts.items()}
    best: Any = records[0].result.best if records else None
    return metrics if best is None else metrics | {"sweep/best_val_dice": best}


def _end(
    plan: SweepPlan,
    status: str,
    counts: Mapping[str, int],
    stop: StopRequest,
    begun: int,
    budget: Budget | None,
) -> None:
    """Say how the sweep has ended, or raise it. begun: trials."""
    summary = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none had started"
    if status == "KILLED":
        raise RunStopped(f"stopped: {summary}; the same command resumes the sweep", stop.exit_code)
    if status == "FAILED":
        raise RunStopped(f"{summary}; the same command tries the failed ones again", 1)
    if budget is not None and budget.reason:
        name = f"sweep.name={plan.name}"
        left = plan.total - begun
        summary += f", {left} not begun" if left > 0 else ""
        log.info("%s: %s; the same command with %s and more goes on", budget.reason, summary, name)
        return
    log.info("all over: %s", summary)
