"""The page of a sweep (to be written)."""

from __future__ import annotations

from pathlib import Path


def write_report(sweep: Path, output_dir: str) -> Path:
    """Write report/index.html in the sweep's folder."""
    path = sweep / "report" / "index.html"
    path.parent.mkdir(exist_ok=True)
    path.write_text("<html></html>")
    return path
