"""The report of a sweep: what its page and pictures tell, and what they leave out."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import pytest
from markupsafe import escape
from omegaconf import OmegaConf

from tests import REPOSITORY
from tests.e2e.browser import browser, needs_chromium
from tests.sweep.folders import COMMAND, write_sweep, write_trial
from unet3d.cli import main
from unet3d.config.compose import compose_config
from unet3d.config.schema import as_dict
from unet3d.sweep.format import shown
from unet3d.sweep.report.parameters import Parameter, importance
from unet3d.sweep.report.report import report_again, write_report
from unet3d.sweep.report.results import note, print_results, read_results
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.tracking.connection import connect

PLOTS = ("learning_curves", "parallel_coordinates", "importance", "cost")
HOSTILE = '<script>alert("x")</script>&$a$'


class Rows(HTMLParser):
    """The texts and the sort keys of a page's table."""

    def __init__(self, html: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.keys: list[list[str | None]] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """A row or a cell begins."""
        if tag == "tr":
            self.rows.append([])
            self.keys.append([])
        elif tag in ("td", "th"):
            self.inside = True
            self.rows[-1].append("")
            self.keys[-1].append(dict(attributes).get("data-key"))

    def handle_endtag(self, tag: str) -> None:
        """A cell ends."""
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        """A text, of a cell or not."""
        if self.inside:
            self.rows[-1][-1] += data


@pytest.fixture
def search(tmp_path: Path) -> Path:
    """A search over numbers on a log scale, words and truths; trials ended in every way."""
    sweep = write_sweep(tmp_path, "search")
    for number in range(8):
        lr = 10 ** (-4 + 3 * number / 7)
        top = 0.9 - 0.08 * abs(number - 4) - 0.001 * number
        swept = {
            "lr": repr(lr),
            "model.norm": ("batch", "group", "instance")[number % 3],
            "optimizer.amsgrad": ("true", "false")[number % 2],
        }
        curve = [round(top * step / 4, 4) for step in range(1, 5)]
        write_trial(sweep, number, swept, curve, seconds=100.0 * number)
    words = {"model.norm": "batch", "optimizer.amsgrad": "true"}
    write_trial(sweep, 8, {"lr": "1e-5", **words}, [0.1, 0.12], "pruned", seconds=3723.0)
    error = "Traceback:\n  somewhere\nOSError: no space <left>\n"
    write_trial(sweep, 9, {"lr": "1e-6", **words}, [], "failed", error=error, attempts=3)
    write_trial(sweep, 10, {"lr": "1e-3", **words}, [0.2, 0.3, 0.25], "open")
    figures = tmp_path / "runs" / f"{4:032x}" / "figures"
    figures.mkdir(parents=True)
    (figures / "validation.png").write_bytes(b"\x89PNG overlays")
    return sweep


def page_of(sweep: Path) -> str:
    """The HTML of the sweep's report, written now."""
    path = write_report(SweepFolder(sweep), str(sweep.parents[1]))
    assert path == sweep / "report" / "index.html"
    return path.read_text()


def test_the_table_tells_every_trial_best_first(search: Path) -> None:
    """Rows, order and what is sorted by; trials that are open or failed have their place."""
    table = Rows(page_of(search))
    head, *rows = table.rows
    assert head[:4] == ["trial", "lr", "model.norm", "optimizer.amsgrad"]
    assert head[4:8] == ["state", "best val/dice", "best epoch", "epochs"]
    assert head[8:] == ["time", "attempts", "run id", "error"]
    assert [row[0] for row in rows] == ["4", "3", "5", "2", "6", "1", "7", "0", "10", "8", "9"]
    best, open_, pruned, failed = rows[0], rows[8], rows[9], rows[10]
    assert best[1:8] == ["0.005179", "group", "true", "finished", "0.8960", "4", "4"]
    assert table.keys[1][1] == repr(10 ** (-4 + 12 / 7)) and table.keys[1][8] == "400.0"
    assert best[8:11] == ["6:40", "1", "00000000"]
    assert open_[4:8] == ["open", "0.3000", "2", "3"]
    assert pruned[4:9] == ["pruned", "0.1200", "2", "2", "1:02:03"]
    assert failed[4:8] == ["failed", "-", "-", "0"]
    assert failed[9] == "3" and failed[11] == "OSError: no space <left>"


def test_a_metric_of_the_users_own_has_a_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the best epoch, in every table; not its values for the outputs, nor ours."""
    sweep = write_sweep(tmp_path, "own")
    for number in range(2):
        epochs = write_trial(sweep, number, {"lr": f"1e-{number}"}, [0.1, 0.5, 0.2]) / "epochs"
        own = '"val/ml": 7.25, "val/ml_core": 3.5, "val/dice_core": 0.1, "val/dice"'
        lines = epochs.read_text().splitlines(keepends=True)
        lines[1] = lines[1].replace('"val/dice"', own if number else '"val/dice"')
        epochs.write_text("".join(lines))
    table = Rows(page_of(sweep))
    assert table.rows[0][2:6] == ["state", "best val/dice", "val/ml", "best epoch"]
    assert [row[4] for row in table.rows[1:]] == ["-", "7.2500"]
    records = read_results(SweepFolder(sweep))
    print_results(records)
    assert "val/ml " in (shown_table := capsys.readouterr().out) and "7.2500" in shown_table
    assert "| trial | settings | state | val/dice | val/ml | best epoch |" in note(records, "0")


def test_the_page_stands_alone_and_tells_the_sweep(search: Path) -> None:
    """Name, command, counts, the best trial's command; pictures and script inside the page."""
    html = page_of(search)
    best = read_results(SweepFolder(search))[0]
    assert "<title>Sweep search</title>" in html
    assert escape(COMMAND) in html
    assert re.sub("<[^>]*>", "", html).count("8 finished, 1 pruned, 1 failed, 1 open") == 1
    assert f'<pre class="copied"><code>{best.command}</code></pre>' in html
    assert "<strong>0.8960</strong> at epoch 4 of 4" in html
    assert html.count('src="data:image/png;base64,') == 5
    assert "Left out" not in html
    assert "http:" not in html and "https:" not in html and "<link" not in html
    assert "prefers-color-scheme: dark" in html
    assert "aria-sort" in html and "navigator.clipboard" in html


def test_a_page_of_a_thousand_trials_stays_below_3_mb(tmp_path: Path) -> None:
    """With all its rows and pictures: it is one file, to be sent to others."""
    sweep = write_sweep(tmp_path, "large")
    for number in range(1000):
        swept = {
            "lr": repr(1e-4 * (1 + number // 25)),
            "optimizer.beta_2": repr(0.9 + number % 25 / 250),
        }
        write_trial(sweep, number, swept, [0.1 * number % 0.7] * 10, seconds=60.0)
    assert len(page_of(sweep).encode()) < 3e6


def test_pictures_are_written_whole_beside_the_page(search: Path) -> None:
    """PNGs of a size to read, in which something is drawn; the overlays are the best trial's."""
    page_of(search)
    report = search / "report"
    for plot in PLOTS:
        pixels = matplotlib.image.imread(report / f"{plot}.png")
        assert pixels.shape[0] > 200 and pixels.shape[1] > 700
        assert 0.01 < (pixels[..., :3].min(axis=-1) < 0.9).mean() < 0.6
    assert (report / "best_overlays.png").read_bytes() == b"\x89PNG overlays"
    named = {*(f"{plot}.png" for plot in PLOTS), "best_overlays.png", "index.html"}
    assert {path.name for path in report.iterdir()} == named | {"results.csv", "results.json"}


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """What a user or an error wrote is neither HTML on the page nor a formula in a picture."""
    sweep = write_sweep(tmp_path, "a&b")
    for number, value in enumerate((HOSTILE, "$b$ \\frac{")):
        write_trial(sweep, number, {HOSTILE: value}, [0.1 * (number + 1)], error=HOSTILE)
    html = page_of(sweep)
    assert "Sweep a&amp;b" in html
    assert html.count("<script>") == 1 and escape(HOSTILE) in html
    assert Rows(html).rows[2][1] == HOSTILE
    assert html.count("Left out") == 2  # the overlays, and no trial has said how long it took


@pytest.mark.parametrize(
    ("curves", "parameter", "told"),
    [
        ([], "lr", ["No trial has begun.", "no trial has been validated yet."]),
        ([[]], "lr", ["No trial has a val/dice yet."]),
        ([[0.5]], "lr", ["fewer than two trials have finished with different val/dice."]),
        ([[0.5], [0.5]], "lr", ["fewer than two trials have finished with different val/dice."]),
        ([[0.5], [0.6]], "", ["no parameter differs among the finished trials."]),
    ],
)
def test_what_cannot_be_drawn_is_said(
    tmp_path: Path, curves: list[list[float]], parameter: str, told: list[str]
) -> None:
    """Sweeps with too little in them have a page too, without an earlier report's pictures."""
    sweep = write_sweep(tmp_path, "small")
    (sweep / "report").mkdir()
    (sweep / "report" / "importance.png").write_bytes(b"old")
    for number, curve in enumerate(curves):
        write_trial(sweep, number, {parameter: str(number)} if parameter else {}, curve)
    html = page_of(sweep)
    for sentence in told:
        assert sentence in html
    assert "figures/validation.png here" in html or not any(curves)
    assert not (sweep / "report" / "importance.png").exists()
    assert (sweep / "report" / "learning_curves.png").exists() == any(curves)


def test_a_plot_that_fails_does_not_lose_the_page(
    search: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a sweep is recorded also where a library refuses to draw."""

    def refuse(results: object) -> dict[str, float]:
        raise ValueError("no forest")

    monkeypatch.setattr("unet3d.sweep.report.plots.importance", refuse)
    html = page_of(search)
    assert "Left out: it could not be drawn (no forest)." in html
    assert html.count('src="data:image/png;base64,') == 4


def test_importance_finds_what_matters_each_time(search: Path) -> None:
    """val/dice depends on lr alone here; the same trials give the same numbers."""
    results = [r for r in read_results(SweepFolder(search)) if r.result.state == "finished"]
    shares = importance(results)
    assert next(iter(shares)) == "lr" and shares["lr"] > 0.5
    assert sum(shares.values()) == pytest.approx(1)
    assert importance(results) == shares


def test_two_trials_are_enough_for_importance(tmp_path: Path) -> None:
    """The smallest sweep that can be compared."""
    sweep = write_sweep(tmp_path, "two")
    write_trial(sweep, 0, {"model.norm": "batch"}, [0.5])
    write_trial(sweep, 1, {"model.norm": "group"}, [0.6])
    assert importance(read_results(SweepFolder(sweep))) == {"model.norm": 1.0}


def test_the_best_command_has_the_patch_that_auto_chose(tmp_path: Path) -> None:
    """Typed alone, `auto` would see the whole machine and train on another patch than the trial."""
    sweep = write_sweep(tmp_path, "auto")
    write_trial(sweep, 0, {"data.patch": "auto", "lr": "0.1"}, [0.5])
    assert read_results(SweepFolder(sweep))[0].command == "python train.py data.patch=auto lr=0.1"
    run, chosen = tmp_path / "runs" / f"{0:032x}", compose_config(["data.patch=[32,40,24]"])
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(as_dict(chosen))))
    assert (
        read_results(SweepFolder(sweep))[0].command
        == "python train.py 'data.patch=[32,40,24]' lr=0.1"
    )


def test_scales_of_parameters() -> None:
    """Log where numbers span a decade; words in order; texts where there is room."""
    rates = Parameter("lr", ("0.0001", "0.001", "1e-2"))
    assert rates.logarithmic and rates.heights() == pytest.approx([0, 0.5, 1])
    assert [text for _, text in rates.ticks()] == ["0.0001", "0.001", "0.01"]
    depths = Parameter("model.depth", ("4", "3", "4"))
    assert not depths.logarithmic and depths.heights() == [1, 0, 1]
    assert not Parameter("x", ("0", "100")).logarithmic
    assert not Parameter("x", ("1", "100"), linear=True).logarithmic
    mixed = Parameter("patience", ("null", "10", "9", "inf"))
    assert not mixed.numeric and mixed.categories == ["9", "10", "inf", "null"]
    many = Parameter("lr", tuple(repr(10 ** (-4 + 3 * at / 31)) for at in range(32)))
    texts = [text for _, text in many.ticks()]
    assert {"0.0001", "0.001", "0.01"} <= set(texts) and len(texts) <= 8
    assert Parameter("x", ("1", "1")).heights() == [0.5, 0.5]
    assert [shown(value) for value in ("1e-3", "0.0031483729571", "batch_instance")] == [
        "1e-3",
        "0.003148",
        "batch_instance",
    ]


def test_unknown_and_missing_names_list_the_sweeps(
    search: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and exit code 2."""
    output = f"output_dir={search.parents[1]}"
    for arguments, told in (
        (["sweep=serch", output], "error: sweep: serch does not exist; in "),
        ([output], "error: sweep is not set; type sweep=<name>; in "),
        (["sweep=../sweeps/search", output], "error: sweep: ../sweeps/search does not exist; "),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["report", *arguments])
        line = capsys.readouterr().err
        assert caught.value.code == 2
        assert line.startswith(told) and line.count("\n") == 1
        assert line.endswith("/sweeps: search\n")
    with pytest.raises(SystemExit):
        main(["report", "sweep=search", f"output_dir={search}"])
    assert capsys.readouterr().err.endswith("/sweeps: no sweeps\n")


def test_the_command_writes_the_report_without_tensorflow(search: Path) -> None:
    """As typed in a shell: the table, the page's path; nothing heavy is imported for it."""
    code = (
        "import sys; from unet3d.cli import main; main(sys.argv[1:]); "
        "print('tensorflow' in sys.modules, 'ray' in sys.modules, 'mlflow' in sys.modules)"
    )
    output = search.parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, "report", "sweep=search", f"output_dir={output}"],
        cwd=output,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "best: python train.py lr=0.005" in done.stdout
    assert f"report: {search}/report/index.html" in done.stdout
    assert done.stdout.endswith("False False False\n")


def test_the_report_is_added_to_the_parent_run(
    search: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into the store that a further override names; the run stays as it had ended."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    output = search.parents[1]
    settings = [
        f"output_dir={output}",
        f"tracking.uri=sqlite:///{output}/other.db",
        f"tracking.artifacts={output}/artifacts",
    ]
    connection = connect(compose_config(settings))
    assert connection is not None
    run_id = connection.client.create_run(connection.experiment).info.run_id
    connection.client.set_terminated(run_id, "KILLED")
    write_sweep(output, "recorded", run_id=run_id)
    main(["report", "sweep=recorded", *settings])
    logged = [item.path for item in connection.client.list_artifacts(run_id, "report")]
    assert logged == ["report/index.html"]
    assert connection.client.get_run(run_id).info.status == "KILLED"


def test_a_store_that_is_away_is_no_error(search: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is written, and the store is not asked for where the sweep has no run in it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    output = search.parents[1]
    away = f"tracking.uri=sqlite:///{search}/sweep.json/a_file_is_no_folder.db"
    config = compose_config([f"output_dir={output}", away])
    write_sweep(output, "recorded", run_id="abc")
    told: list[str] = []
    monkeypatch.setattr(
        "unet3d.tracking.connection.log.warning", lambda text, *values: told.append(text)
    )
    assert report_again(config, "search").is_file()
    assert told == []
    assert report_again(config, "recorded").is_file()
    assert told == ["tracking: not recorded (%s)"]


@needs_chromium
def test_headings_sort_the_table(search: Path, tmp_path: Path) -> None:
    """A click sorts upwards, the next downwards, by number; what is empty stays last."""
    page_of(search)
    by_lr = ["9", "8", "0", "1", "2", "10", "3", "4", "5", "6", "7"]
    with browser(tmp_path) as page:
        page.driver.get((search / "report" / "index.html").as_uri())

        def sorted_by(heading: str) -> list[str]:
            page.click(f"//th/button[normalize-space()='{heading}']")
            return [cell.text for cell in page.visible("//tbody/tr/td[1]")]

        assert sorted_by("lr") == by_lr
        assert sorted_by("lr") == by_lr[::-1]
        assert sorted_by("time")[-2:] == ["7", "8"]
        by_dice = ["8", "10", "0", "7", "1", "6", "2", "5", "3", "4", "9"]
        assert sorted_by("best val/dice") == by_dice
        page.click("//pre/button[text()='Copy']")
        page.exists("//pre/button[text()='Copied']")
        assert page.driver.get_log("browser") == []


@needs_chromium
def test_a_filter_leaves_the_rows_that_match(search: Path, tmp_path: Path) -> None:
    """Words anywhere in a row, and values of a column, compared as numbers; all must hold."""
    page_of(search)
    with browser(tmp_path) as page:
        page.driver.get((search / "report" / "index.html").as_uri())

        def left(text: str) -> tuple[set[str], str]:
            for field in page.visible("//label[contains(., 'Filter')]/input"):
                field.clear()
                field.send_keys(text)
            rows = page.visible("//h2[.='Trials']/..//tbody/tr/td[1]")
            count = page.visible("//h2[.='Trials']/..//output")
            return {row.text for row in rows}, count[0].text if count else ""

        assert left("lr=0.001") == ({"10"}, "1 of 11")
        assert left("lr<=0.0001") == ({"0", "8", "9"}, "3 of 11")
        assert left("norm=batch finished") == ({"0", "3", "6"}, "3 of 11")
        assert left("val/dice>0.8") == ({"3", "4", "5"}, "3 of 11")
        assert left("FAILED") == ({"9"}, "1 of 11")
        assert left("space nothing") == (set(), "0 of 11")
