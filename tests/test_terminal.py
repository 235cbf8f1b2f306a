"""Tables for the width of the terminal: nothing that names a row or measures it is lost."""

from __future__ import annotations

import re

import pytest

from unet3d.terminal import print_table

HEADINGS = ("trial", "settings", "state", "val/dice", "best epoch", "time", "run")
ROWS = [
    (
        "0",
        "lr=0.001, norm=group, amsgrad=true",
        "finished",
        "0.8421",
        "9 of 10",
        "12 s",
        "1f0c99ab",
    ),
    ("1", "lr=0.005, norm=[batch]", "failed", "-", "0 of 0", "3 s", ""),
]


def printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> list[str]:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # as on a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(HEADINGS, ROWS, words=("settings",))
    return re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()


def test_words_take_several_lines_before_a_column_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that fits once its settings are over two lines."""
    lines = printed(capsys, monkeypatch, 90)
    assert max(map(len, lines)) <= 90
    text = "\n".join(lines)
    for cell in ("lr=0.001,", "amsgrad=true", "[batch]", "0.8421", "9 of 10", "1f0c99ab"):
        assert cell in text
    assert "…" not in text


@pytest.mark.parametrize("columns", [50, 60])
def test_a_narrow_terminal_gets_a_list(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """All of it, by name."""
    lines = printed(capsys, monkeypatch, columns)
    assert max(map(len, lines)) <= columns
    whole = " ".join(" ".join(lines).split())
    assert "trial 0: settings lr=0.001, norm=group, amsgrad=true" in whole
    assert "state finished, val/dice 0.8421, best epoch 9 of 10, time 12 s, run 1f0c99ab" in whole
    assert "trial 1: settings lr=0.005, norm=[batch]" in whole


def test_without_a_terminal_the_page_has_a_width_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log file shows whole tables, whatever COLUMNS says."""
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    monkeypatch.setenv("COLUMNS", "40")
    print_table(HEADINGS, ROWS, words=("settings",), page=120)
    text = capsys.readouterr().out
    assert "lr=0.001, norm=group, amsgrad=true" in text
    assert "1f0c99ab" in text
