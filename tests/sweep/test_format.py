"""Numbers, times and errors in the form in which tables and reports show them."""

from __future__ import annotations

import pytest

from unet3d.sweep.format import clock, last_line, number, number_or_dash, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1e-3", 0.001), ("-2", -2.0), ("batch", None), ("nan", None), ("inf", None), ("", None)],
)
def test_only_finite_numbers_are_numbers(text: str, expected: float | None) -> None:
    """What float() takes besides would break the scales of the plots."""
    assert number(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1e-3", "1e-3"),
        ("0.000100", "0.000100"),
        ("0.0044303752", "0.00443"),
        ("instance_norm", "instance_norm"),
    ],
)
def test_drawn_numbers_are_short_and_others_as_typed(value: str, expected: str) -> None:
    """A search draws 16 digits; what a user has typed is recognised."""
    assert shown(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0:00"), (125.9, "2:05"), (3599, "59:59"), (3725, "1:02:05")]
)
def test_times_are_minutes_then_hours(seconds: float, expected: str) -> None:
    """Hours appear from the first one on."""
    assert clock(seconds) == expected


def test_a_missing_number_is_a_dash() -> None:
    """0 is a number."""
    assert (number_or_dash(None), number_or_dash(0.0)) == ("-", "0.0000")


def test_the_last_line_of_a_traceback_says_what_went_wrong() -> None:
    """Empty lines at its end do not count; no error has no line."""
    assert last_line("Traceback:\n  File x\nOSError: no space\n\n") == "OSError: no space"
    assert last_line("") == ""
