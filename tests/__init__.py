"""Tests of the package, in folders of the same names."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
