"""The comparison of a sweep's configurations as CSV and as a LaTeX table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping

from unet3d.sweep.scores import ScoreTable
from unet3d.sweep.statistics.estimate import Estimate, estimate
from unet3d.sweep.verdict.compared import DROPPED, Compared
from unet3d.sweep.verdict.text import shown_p
from unet3d.sweep.verdict.verdict import Verdict

SPECIAL = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"$<$",
    ">": r"$>$",
}


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(SPECIAL.get(char, char) for char in text)


def csv_table(found: Verdict, regions: Mapping[str, ScoreTable]) -> str:
    """A row for each configuration: mean, interval, difference, p, and the mean of each region."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    heading = ["configuration", "trials", "mean", "low", "high", "deviation"]
    heading += ["difference", "difference_low", "difference_high", "p_holm", "standing"]
    for name in regions:
        heading += [f"{name}_mean", f"{name}_low", f"{name}_high"]
    table.writerow(heading)
    for row in found.rows:
        against: list[float | str] = ["", "", "", ""]
        if row.against is not None:
            one = row.against.difference
            against = [one.mean, *one.interval(), row.against.p]
        own = [row.estimate.mean, *row.estimate.interval(), row.deviation, *against]
        figures = [*own, row.standing]
        for region in regions.values():
            of_region = region_estimate(found, row, region)
            figures += [of_region.mean, *of_region.interval()]
        values = ["" if isinstance(v, float) and math.isnan(v) else v for v in figures]
        table.writerow([row.name, len(row.configuration.values), *values])
    return text.getvalue()


def region_estimate(found: Verdict, row: Compared, region: ScoreTable) -> Estimate:
    """The mean of one region over the trials of a configuration."""
    at = found.table.configurations.index(row.configuration)
    return estimate([fold[at] for fold in region.folds])


def latex_table(found: Verdict, regions: Mapping[str, ScoreTable], name: str) -> str:
    """A table environment for booktabs. name: of the sweep, for the label."""
    columns = "l" + "c" * (len(regions) + 3)
    headings = ["Configuration", "Dice", *map(escaped, regions), r"$\Delta$ (95\,\% CI)", "$p$"]
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table*}",  # as wide as the figures, also where the page has two columns
        r"\centering",
        r"\small",
        rf"\caption{{{_caption(found)}}}",
        rf"\label{{tab:{name}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(headings) + r" \\",
        r"\midrule",
        *(_latex_row(found, row, regions) for row in found.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(found: Verdict, row: Compared, regions: Mapping[str, ScoreTable]) -> str:
    name, value = escaped(row.name), _mean(row.estimate)
    if row.against is None:
        name, value = rf"\textbf{{{name}}}", rf"\textbf{{{value}}}"
        difference = p = "--"
    else:
        one = row.against.difference
        low, high = one.interval()
        ends = rf"\ [{low:+.3f}, {high:+.3f}]" if math.isfinite(low) else ""
        difference, p = f"${one.mean:+.3f}{ends}$", escaped(shown_p(row.against.p))
        p += r"$^{\dagger}$" if row.standing == DROPPED else ""
    each = [_mean(region_estimate(found, row, region)) for region in regions.values()]
    return " & ".join([name, value, *each, difference, p]) + r" \\"


def _mean(one: Estimate) -> str:
    half = one.half_width()
    return f"{one.mean:.3f}" + (rf" $\pm$ {half:.3f}" if math.isfinite(half) else "")


def _caption(found: Verdict) -> str:
    table = found.table
    trials = f"{len(table.folds)} folds" if len(table.folds) > 1 else "one split"
    trials += f" and {table.seeds} seeds" if table.seeds > 1 else ""
    many = "s" * (len(found.rows) > 1)
    text = (
        rf"Validation Dice of {len(found.rows)} configuration{many} on {trials}, mean $\pm$ half "
        r"of the 95\,\% interval. $\Delta$: paired difference from the best. $p$: paired $t$ test, "
        "corrected by Holm."
    )
    dropped = any(row.standing == DROPPED for row in found.rows)
    return text + (r" $^{\dagger}$: dropped by the race." if dropped else "")
