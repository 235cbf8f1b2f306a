"""What a paper needs of a sweep: tables, figures, methods and references that belong together."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from tests.small import small_config
from tests.sweep.folders import write_sweep, write_trial
from tests.sweep.verdict.test_verdict import scores, write_simulated
from unet3d.cli import main
from unet3d.config.schema import as_dict
from unet3d.errors import RunError
from unet3d.run_folder import run_folder
from unet3d.sweep.paper.figures import average_ranks, cliques, not_distinguished
from unet3d.sweep.paper.paper import write_paper
from unet3d.sweep.paper.references import PAPERS, bibtex
from unet3d.sweep.paper.tables import escaped
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.verdict.verdict import verdict


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    """Three rates on three folds, with the settings of each run."""
    found = write_simulated(tmp_path, scores((0.84, 0.835, 0.6), 3, 1))
    for trial in found.trials():
        fold = f"data.fold={trial.swept['data.fold']}"
        config = small_config(tmp_path, f"lr={trial.swept['lr']}", "data.folds=3", fold)
        run = run_folder(tmp_path, trial.result.run_id)
        run.config.write_text(OmegaConf.to_yaml(OmegaConf.create(as_dict(config))))
    return found


def test_a_paper_from_the_command_line(
    sweep: SweepFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All files are there, whole, in formats that LaTeX and Word take."""
    main(["report", "sweep=rates", "format=paper", f"output_dir={tmp_path}"])
    assert f"paper: {sweep.path / 'paper'}" in capsys.readouterr().out
    written = {path.name for path in (sweep.path / "paper").iterdir()}
    figures = {
        f"{n}.{k}" for n in ("critical_difference", "regions", "cases") for k in ("pdf", "svg")
    }
    tables = {"comparison.csv", "comparison.tex", "settings.csv"}
    assert written == figures | tables | {"methods.tex", "references.bib"}
    for name in figures:
        data = (sweep.path / "paper" / name).read_bytes()
        assert data.startswith(b"%PDF") or b"<svg" in data[:1000]
    svg = (sweep.path / "paper" / "critical_difference.svg").read_text()
    assert "average rank over 60 cases" in svg  # text stays text
    sizes = [float(size) for size in re.findall(r"font[^;\"]*?([\d.]+)px", svg)]
    assert sizes and min(sizes) >= 8, svg[:3000]


def test_the_tables_say_the_same(sweep: SweepFolder, tmp_path: Path) -> None:
    """Mean, interval and p of the verdict, for each region too; the best is bold."""
    folder = write_paper(sweep, str(tmp_path))
    found = verdict(sweep.trials(), str(tmp_path))
    assert found is not None
    with (folder / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, expected in zip(rows, found.rows, strict=True):
        assert row["configuration"] == expected.name
        assert float(row["mean"]) == pytest.approx(expected.estimate.mean)
        assert float(row["WT_mean"]) == pytest.approx(float(row["TC_mean"]))
    text = (folder / "comparison.tex").read_text()
    assert text.count(r"\\") == 4 and rf"\textbf{{{found.rows[0].name}}}" in text
    assert text.count("{") == text.count("}") and r"\toprule" in text
    assert escaped(r"a_b 50% <x> \y") == r"a\_b 50\% $<$x$>$ \textbackslash{}y"


MAIN = r"""
\documentclass[twocolumn]{article}
\usepackage{booktabs,graphicx}
\begin{document}
\input{methods}
\input{comparison}
\begin{figure*}\includegraphics[width=\textwidth]{critical_difference.pdf}\end{figure*}
\begin{figure*}\includegraphics[width=\textwidth]{regions.pdf}\end{figure*}
\begin{figure*}\includegraphics[width=\textwidth]{cases.pdf}\end{figure*}
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_a_paper_of_two_columns_compiles(sweep: SweepFolder, tmp_path: Path) -> None:
    """With its citations, and nothing that runs into the other column."""
    run = run_folder(tmp_path, sweep.trials()[0].result.run_id)
    split = {"train": ["a"], "val": ["b"], "test": ["c"], "digest": "0123456789abcdef" * 4}
    run.split.write_text(json.dumps(split))
    folder = write_paper(sweep, str(tmp_path))
    (folder / "main.tex").write_text(MAIN)
    latex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    for command in (latex, ["bibtex", "main"], latex, latex):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-3000:]
    log = (folder / "main.log").read_text()
    assert (folder / "main.pdf").read_bytes().startswith(b"%PDF")
    assert "undefined" not in log and "Missing character" not in log
    wide = [float(points) for points in re.findall(r"Overfull .hbox \(([\d.]+)pt", log)]
    assert max(wide, default=0.0) < 5, log


def test_methods_cite_what_the_references_have(sweep: SweepFolder, tmp_path: Path) -> None:
    """Settings, sizes and sources are in the paragraph; nothing is cited that is missing."""
    folder = write_paper(sweep, str(tmp_path))
    text, references = (folder / "methods.tex").read_text(), (folder / "references.bib").read_text()
    cited = {k for group in re.findall(r"\\cite\{([^}]*)\}", text) for k in group.split(",")}
    assert cited == set(re.findall(r"@\w+\{(\w+),", references))
    assert {"cicek2016", "kingma2015", "holm1979", "bengio2004"} <= cited
    assert "$16 \\times 16 \\times 16$ voxels" in text and "3 folds (9 trials)" in text
    with (folder / "settings.csv").open() as file:
        rows = {row["setting"]: row for row in csv.DictReader(file)}
    assert rows["lr"]["lr=1e-3"] == "0.001" and rows["lr"]["lr=1e-2"] == "0.01"
    assert "tracking.uri" not in rows


def test_every_reference_is_whole() -> None:
    """As many braces open as close, whatever the accents."""
    text = bibtex(PAPERS)
    assert text.count("{") == text.count("}") and text.count("@") == len(PAPERS)


def test_ranks_and_groups_of_the_critical_difference(sweep: SweepFolder, tmp_path: Path) -> None:
    """The worst has the last rank; a bar joins the two that cannot be distinguished."""
    found = verdict(sweep.trials(), str(tmp_path))
    assert found is not None
    ranks, cases = average_ranks(found)
    assert cases == 60 and ranks[2] > 2.9 and ranks.sum() == pytest.approx(6)
    alike = not_distinguished(found)
    assert alike[0, 1] and not alike[0, 2]
    assert cliques(alike, [0, 1, 2]) == [(0, 1)]
    some = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)
    assert cliques(some, [0, 1, 2]) == [(0, 1), (1, 2)]
    assert cliques(np.ones((3, 3), bool), [0, 1, 2]) == [(0, 2)]


def test_what_cannot_be_drawn_is_left_out(tmp_path: Path) -> None:
    """Of runs of an earlier version, which have kept no cases; and a sweep without a trial."""
    found = write_simulated(tmp_path, scores((0.84, 0.8), 3, 1), by_case=False)
    run = run_folder(tmp_path, verdict_run(found, tmp_path))
    run.path.mkdir(parents=True)
    config = as_dict(small_config(tmp_path))
    run.config.write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    folder = write_paper(found, str(tmp_path))
    assert not list(folder.glob("*.pdf")) and (folder / "comparison.tex").exists()
    empty = write_sweep(tmp_path, "empty")
    write_trial(empty, 0, {"lr": "1"}, [], "failed")
    with pytest.raises(RunError, match="none of the trials of empty has finished"):
        write_paper(SweepFolder(empty), str(tmp_path))


def verdict_run(sweep: SweepFolder, output_dir: Path) -> str:
    found = verdict(sweep.trials(), str(output_dir))
    assert found is not None
    return found.rows[0].configuration.finished[0].result.run_id
