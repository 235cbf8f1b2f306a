"""`unet3d preprocess verify=true`: what is damaged is found, reported and rebuilt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nifti_files import config, write_dataset
from unet3d.cli import main
from unet3d.preprocessing.checksum import file_crc32
from unet3d.preprocessing.preprocess import preprocess


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # another process may have it open
    path.write_bytes(content)


def _command(tmp_path: Path, *arguments: str) -> None:
    settings = {"name": "tiny", "root": tmp_path / "raw", "store": tmp_path / "stores"}
    data = [f"data.{key}={value}" for key, value in settings.items()]
    main(["preprocess", "data=msd", *data, "data.workers=1", *arguments])


def test_damage_of_the_same_size_is_found_and_only_that_case_is_built_again(tmp_path, capsys):
    """One flipped byte of a volume, of a case.json: reported, exit code 1, rebuilt equal."""
    write_dataset(tmp_path / "raw", cases=4)
    cases = preprocess(config(tmp_path)).path / "cases"
    expected = {path: file_crc32(path) for path in cases.glob("*/*")}
    _command(tmp_path, "verify=true")
    assert "4 cases in" in capsys.readouterr().out
    _flip_a_byte(cases / "case_1" / "image.b2nd")
    text = (cases / "case_2" / "case.json").read_text()
    (cases / "case_2" / "case.json").write_text(text.replace('"labels": [', '"labels": [1, ', 1))
    (cases / "case_3" / "label.b2nd").unlink()
    with pytest.raises(SystemExit) as ended:
        _command(tmp_path, "verify=true")
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 1
    assert lines[-4].startswith(f"case_1: {cases}/case_1/image.b2nd: checksum ")
    assert (
        lines[-3] == f"case_2: {cases}/case_2/case.json: its checksum does not match its contents"
    )
    assert lines[-2] == f"case_3: {cases}/case_3/label.b2nd: No such file or directory"
    assert lines[-1].startswith("3 of 4 cases in") and lines[-1].endswith("builds them again")
    kept = (cases / "case_0" / "image.b2nd").stat().st_ino
    _command(tmp_path)
    assert {path: file_crc32(path) for path in cases.glob("*/*")} == expected
    assert (cases / "case_0" / "image.b2nd").stat().st_ino == kept
    _command(tmp_path, "verify=true")


def test_a_mark_goes_once_the_case_is_found_whole(tmp_path):
    """A read error that has passed does not leave a case marked; stores without seals count."""
    write_dataset(tmp_path / "raw", cases=1)
    store = preprocess(config(tmp_path))
    (folder,) = (store.path / "cases").iterdir()
    (folder / "damaged").write_text("image.b2nd: Input/output error")
    described = (folder / "case.json").read_text()
    (folder / "case.json").write_text(described[: described.rindex(",")] + "}")  # no crc32
    _command(tmp_path, "verify=true")
    assert not (folder / "damaged").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify=true"], "not a complete store; run: unet3d preprocess"),
        (["verify=maybe"], "verify: 'maybe' does not fit"),
        (["nodes=2"], "nodes: 2 is not possible with parallel=none"),
        (["nodes=0"], "nodes: 0 is not possible"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, capsys, arguments, message):
    """A missing store and impossible arguments are reported with what to type, exit code 2."""
    write_dataset(tmp_path / "raw", cases=1)
    with pytest.raises(SystemExit) as ended:
        _command(tmp_path, *arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and message in error and error.count("\n") == 1
