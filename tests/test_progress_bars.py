"""Progress without a terminal: a log line now and then, in place of a bar."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from rich.console import Console

from unet3d import progress_bars
from unet3d.progress_bars import StepBar, bytes_bar, case_bar, epoch_bar


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "unet3d"):
        yield caplog


def test_cases_are_counted_in_lines_that_keep_a_distance(
    heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick cases print nothing; a slow one prints how many are done."""
    now = [0.0]
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: now[0])
    with case_bar("preprocessing", 4) as advance:
        advance()
        now[0] = 31.0
        advance()
        now[0] = 60.0
        advance()
        now[0] = 62.0
        advance()
    assert heard.messages == [
        "data: preprocessing, 2 of 4 cases done",
        "data: preprocessing, 4 of 4 cases done",
    ]


def test_a_hidden_bar_prints_nothing(
    heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers of a job count in silence."""
    monkeypatch.setattr(progress_bars, "LINE_SECONDS", -1.0)
    with case_bar("preprocessing", 1, shown=False) as advance:
        advance()
    assert heard.messages == []


def test_bytes_are_counted_in_tenths_after_an_earlier_try(heard: pytest.LogCaptureFixture) -> None:
    """A line each time a tenth is full, however the bytes arrive; none for those held before."""
    with bytes_bar("download", 1000, done=150) as advance:
        for count in (40, 20, 400):
            advance(count)
    assert heard.messages == ["download: 210 bytes of 1.0 kB", "download: 610 bytes of 1.0 kB"]


def test_bytes_of_an_unknown_whole_are_counted_in_steps(
    heard: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server need not say how large its file is."""
    monkeypatch.setattr(progress_bars, "LINE_BYTES", 100)
    with bytes_bar("download", None) as advance:
        for count in (60, 60, 60):
            advance(count)
    assert heard.messages == ["download: 120 bytes"]


def test_an_epoch_bar_needs_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """In a log file there is no bar, and the calls of the loop still work."""
    with epoch_bar(1, 2, steps=3, done=1) as update:
        update(2, 0.5, 0.25)
        update(3, 0.4, 0.5)
    assert capsys.readouterr().out.strip() == ""


def test_an_epoch_is_announced_for_a_bar_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a second and at its end, as the file may lie on a network disk."""
    now = [100.0]
    monkeypatch.setattr(progress_bars.time, "perf_counter", lambda: now[0])
    said: list[tuple[str, int, int]] = []
    with epoch_bar(2, 5, steps=4, done=0, announce=lambda *step: said.append(step)) as update:
        for done, at in ((1, 100.5), (2, 100.9), (3, 102.0), (4, 102.1)):
            now[0] = at
            update(done, 1.0, 0.5)
    assert said == [("epoch 2/5", 1, 4), ("epoch 2/5", 3, 4), ("epoch 2/5", 4, 4)]


def test_a_bar_on_a_terminal_shows_the_epoch_it_is_given() -> None:
    """And begins anew with the next one; with NO_COLOR it has no colour."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, no_color=True)
    with StepBar(console) as bar:
        bar.show("epoch 1/2", 3, 4)
        bar.show("epoch 2/2", 1, 4, "loss 0.500")
    shown = out.getvalue().split("epoch 2/2")[-1]
    assert "1/4 loss 0.500" in shown and "\x1b[3" not in shown
