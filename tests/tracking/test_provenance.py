"""What a run begins with: its packages, and what its code has beside the commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from unet3d.run_folder import RunFolder
from unet3d.tracking import provenance


def git(folder: Path, *words: str) -> None:
    """A command of git, by somebody."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def test_changes_apply_to_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits and new files of source text, as a patch; data that lies there is left out."""
    code = tmp_path / "code"
    (code / "unet3d" / "tracking").mkdir(parents=True)
    (code / "unet3d" / "net.py").write_text("width = 1\n")
    git(tmp_path, "init", "code")
    git(code, "add", ".")
    git(code, "commit", "-m", "first")
    monkeypatch.setattr(provenance, "__file__", str(code / "unet3d" / "tracking" / "x.py"))
    provenance.code_changes.cache_clear()
    try:
        assert provenance.code_changes() == ""
        (code / "unet3d" / "net.py").write_text("width = 2\n")
        (code / "unet3d" / "new.py").write_text("depth = 3\n")
        (code / "scan.nii").write_bytes(b"\x00" * 100)
        provenance.code_changes.cache_clear()
        folder = RunFolder(tmp_path / "run")
        provenance.keep_provenance(folder)
        git(tmp_path, "clone", "code", "copy")
        git(tmp_path / "copy", "apply", str(folder.code_changes))
        copy = tmp_path / "copy" / "unet3d"
        assert (copy / "net.py").read_text() == "width = 2\n"
        assert (copy / "new.py").read_text() == "depth = 3\n"
        assert "scan.nii" not in folder.code_changes.read_text()
    finally:
        provenance.code_changes.cache_clear()
    packages = folder.packages.read_text().splitlines()
    assert packages == sorted(packages, key=lambda line: line.partition("==")[0])
    assert any(line.startswith("keras==") for line in packages)
