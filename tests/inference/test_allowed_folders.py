"""What a served model may read of its machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from unet3d.errors import DataError
from unet3d.inference.allowed_folders import FOLDERS, SERVER, check_allowed


def test_only_scans_below_the_folders_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link out of them, .. and a file that names another one are refused."""
    scans, secret = tmp_path / "scans", tmp_path / "secret.nii.gz"
    scans.mkdir()
    secret.touch()
    (scans / "a.nii.gz").touch()
    (scans / "a.mhd").touch()
    (scans / "link.nii.gz").symlink_to(secret)
    monkeypatch.setenv(FOLDERS, os.pathsep.join([str(scans), "/other"]))
    check_allowed([scans, scans / "a.nii.gz"])
    for path in (secret, scans / "link.nii.gz", scans / ".." / secret.name, tmp_path):
        with pytest.raises(DataError, match="is not below a folder of UNET3D_SCAN_FOLDERS"):
            check_allowed([path])
    with pytest.raises(DataError, match="is not one of"):
        check_allowed([scans / "a.mhd"])


def test_a_server_reads_nothing_until_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that loads the model reads what it likes."""
    monkeypatch.delenv(FOLDERS, raising=False)
    check_allowed([Path("/data/a.nii.gz")])
    monkeypatch.setitem(sys.modules, SERVER, ModuleType("app"))
    with pytest.raises(DataError, match="no folder is allowed"):
        check_allowed([Path("/data/a.nii.gz")])
