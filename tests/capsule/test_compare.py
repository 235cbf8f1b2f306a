"""Two trainings beside each other: verdicts by tolerance, and a table that stays short."""

from __future__ import annotations

import math

from unet3d.capsule.compare import (
    EQUAL,
    OUTSIDE,
    WITHIN,
    Tolerance,
    compare_cases,
    compare_epochs,
    shown_epochs,
    summary,
    worst,
)

ALLOWED = Tolerance(loss=0.1, dice=0.02)


def epochs(count: int, dice: float) -> list[dict]:
    """A history whose validations are every second epoch."""
    return [
        {
            "epoch": n,
            "metrics": {"train/loss": 1.0 / n} | ({"val/dice": dice} if n % 2 == 0 else {}),
        }
        for n in range(1, count + 1)
    ]


def test_a_loss_is_compared_by_its_share_and_dice_as_it_is() -> None:
    """Not a number is outside, also on one side; equal is bit by bit."""
    assert ALLOWED.verdict("train/loss", 2.0, 2.2) == WITHIN
    assert ALLOWED.verdict("train/loss", 0.1, 0.12) == OUTSIDE
    assert ALLOWED.verdict("val/dice", 0.5, 0.515) == WITHIN
    assert ALLOWED.verdict("dice_tumour", 0.5, 0.53) == OUTSIDE
    assert ALLOWED.verdict("val/dice", 0.1 + 0.2, 0.3) == WITHIN
    assert ALLOWED.verdict("val/loss", 1.0, math.nan) == OUTSIDE


def test_epochs_without_a_validation_and_missing_cases() -> None:
    """What one has and the other has not is outside."""
    rows = compare_epochs(epochs(4, 0.5), epochs(3, 0.51), ALLOWED)
    assert [(row.where, row.verdict) for row in rows if row.name == "val/dice"] == [("2", WITHIN)]
    assert worst(rows) == WITHIN and "3 equal, 1 within, 0 outside" in summary(
        rows, ("val/dice",), ALLOWED
    )
    cases = compare_cases({"a": {"dice": 0.5}, "b": {"dice": 0.5}}, {"a": {"dice": 0.5}}, ALLOWED)
    assert [row.verdict for row in cases] == [EQUAL, OUTSIDE]


def test_a_long_table_shows_those_outside() -> None:
    """The first, the last, and each that is outside as long as there is room."""
    before, now = epochs(200, 0.5), epochs(200, 0.5)
    now[99]["metrics"]["val/dice"] = 0.9
    lines = shown_epochs(compare_epochs(before, now, ALLOWED))
    assert len(lines) <= 24 and lines[0][0] == "1" and lines[-1][0] == "200"
    assert [line[0] for line in lines if line[-1] == OUTSIDE] == ["100"]
