"""Rules for single values: what is allowed, and the words for it that follow "must be"."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

LARGEST = 3.4e38  # what training computes with; a larger one would become infinite there
LARGEST_WHOLE = 2**31 - 1  # no count of anything here is larger
HEX_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


@dataclass(frozen=True)
class Rule:
    """A test of a value, and what it must be to pass."""

    allows: Callable[[Any], bool]
    text: str


def is_finite(value: Any) -> bool:
    """Whether a value, or each in a list or mapping, is a number that float32 holds, or none."""
    if isinstance(value, float):
        return abs(value) <= LARGEST
    if isinstance(value, dict):
        return all(is_finite(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(is_finite(item) for item in value)
    return True


def at_least(low: float, unit: str = "") -> Rule:
    """A number that is not below `low`."""
    return Rule(lambda v: v >= low, f"{low}{unit} or more")


def within(low: float, high: float, unit: str = "") -> Rule:
    """A number from `low` to `high`, both included."""
    return Rule(lambda v: low <= v <= high, f"from {low} to {high}{unit}")


def one_of(*names: str) -> Rule:
    """One of these words."""
    return Rule(lambda v: v in names, f"one of {', '.join(names)}")


def is_name(value: str) -> bool:
    """Whether text can name something without being a path."""
    forbidden = any(char in "/\\:" or not char.isprintable() for char in value)
    return (
        0 < len(value.strip()) <= len(value) <= 200 and not forbidden and value not in (".", "..")
    )


def _is_run_id(value: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*", value) is not None


def _is_checksum(value: str) -> bool:
    algorithm, _, digits = value.lower().partition(":")
    return len(digits) == HEX_DIGITS.get(algorithm) and set(digits) <= set(string.hexdigits)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) in (int, float) for size in value)


def _is_pattern(value: str) -> bool:
    try:
        re.compile(value)
    except re.error:
        return False
    return bool(value)


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


POSITIVE = Rule(lambda v: v > 0, "above 0")
AT_LEAST_0 = at_least(0)
AT_LEAST_1 = at_least(1)
AT_LEAST_2 = at_least(2)
BLOCKS = Rule(
    lambda v: bool(v) and all(1 <= n <= 100 for n in v), "numbers of 1 or more, as in [1,3,4,6]"
)
SEED = Rule(lambda v: 0 <= v < 2**62, "from 0 to below 2**62")
SAMPLER_SEED = within(0, LARGEST_WHOLE)
SHARE = within(0, 1)
PART = Rule(lambda v: 0 < v <= 1, "above 0, and 1 at most")
GPUS = Rule(
    lambda v: 0 <= v <= 1 or (v > 1 and float(v).is_integer()),
    "a share from 0 to 1, or a whole number",
)
SHARE_TO_HALF = Rule(lambda v: 0 < v <= 0.5, "above 0, to 0.5")
BELOW_1 = Rule(lambda v: 0 <= v < 1, "from 0 to below 1")
PRECISION = one_of("float32", "mixed_bfloat16", "mixed_float16")
COMPRESSION = Rule(
    lambda v: v in ("none", "bfloat16"),
    "one of none, bfloat16 (float16 is gone: it made small gradients 0)",
)

SPACING = Rule(
    lambda v: len(v) == 3 and all(0.01 <= size <= 100 for size in v),
    "three lengths from 0.01 to 100 mm, as in [1,1,1]",
)
SPACING_OR_AUTO = Rule(
    lambda v: v == "auto" or (_are_numbers(v) and SPACING.allows(v)), f"{SPACING.text}, or auto"
)
VOLUME_SHAPE = Rule(
    lambda v: len(v) == 3 and all(16 <= size <= 4096 for size in v),
    "three sizes from 16 to 4096 voxels",
)
RANGE = Rule(lambda v: len(v) == 2 and 0 < v[0] <= v[1], "a range [low,high] with 0 < low <= high")
FOLDER = Rule(lambda v: bool(v.strip()), "a folder")
FOLDER_NAME = Rule(
    lambda v: re.fullmatch(r"[\w.-]+", v) is not None and not v.startswith("."),
    "letters, digits, and . _ - after the first, as it names a folder",
)
RUN_ID = Rule(
    lambda v: _is_run_id(v), "the id of a run, which is the name of its folder in <output_dir>/runs"
)
RUN_IDS = Rule(
    lambda v: all(_is_run_id(part.strip()) for part in v.split(",")),
    "the id of a run, or several as a,b,c",
)
NAME = Rule(
    lambda v: is_name(v),
    "a name: at most 200 characters, none of / \\ : or unprintable, not . or ..",
)
PORT = within(1, 65535)
PORTS = Rule(
    lambda v: len(v) == 2 and 1 <= v[0] <= v[1] <= 65535,
    "a range [first,last] of ports with 1 <= first <= last <= 65535",
)
WEB_ADDRESS = Rule(
    lambda v: re.match(r"https?://[^/\s]", v) is not None,
    "an address that begins with http:// or https://",
)
CHECKSUM = Rule(_is_checksum, f"<algorithm>:<hex digits>, with one of {', '.join(HEX_DIGITS)}")
TARGET = Rule(
    lambda v: re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", v) is not None,
    "the full name of a function or class, as in mylab.nets.build",
)
TIME = Rule(_is_time, "a time, as in 2026-12-01T08:00")
PATTERN = Rule(lambda v: _is_pattern(v), "a regular expression")
