"""The real cases, where they are: the same commands on scans with all their irregularities."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import REPOSITORY
from tests.e2e.commands import only_run, train

SCANS = REPOSITORY.parent / "shared" / "data" / "BraTS2013mini"


@pytest.mark.skipif(
    not SCANS.is_dir(), reason=f"no real scans beside the repository ({SCANS.name})"
)
def test_real_scans_train(tmp_path: Path) -> None:
    """data=brats_mini goes from .nii.gz to overlays of the validation case."""
    code, told = train(
        tmp_path,
        "data=brats_mini",
        f"data.root={SCANS}",
        "data.patch=[32,32,32]",
        "data.phantom=null",
        "data.split={train:0.75,val:0.25,test:0.0}",
        "steps_per_epoch=2",
        "tracking=none",
    )
    assert code == 0, told
    assert "3 train, 1 val, 0 test cases" in told
    assert (only_run(tmp_path) / "figures" / "validation.png").stat().st_size > 10_000
