"""A run as one archive, by the commands that a user types, and its check in another folder."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.e2e.commands import only_run, run, train
from unet3d.capsule.archive import open_capsule

TRAINED = ("epochs=3", "deterministic=true", "threads=1", "tracking.system_metrics=false")


def capsule(folder: Path, *arguments: str) -> tuple[int, str]:
    """`unet3d capsule`, as a user types it."""
    return run(folder, *arguments, base=("capsule",), program="unet3d/cli/__main__.py")


@dataclass(frozen=True)
class Made:
    """A run and its archive."""

    folder: Path
    run: str
    archive: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three epochs on phantoms, archived."""
    folder = tmp_path_factory.mktemp("capsule")
    code, said = train(folder, *TRAINED)
    assert code == 0, said
    run_id = only_run(folder).name
    code, said = capsule(folder, f"run={run_id}")
    assert code == 0 and "sha256" in said, said
    return Made(folder, run_id, folder / "outputs" / "capsules" / f"{run_id}.zip")


def test_it_holds_all_that_the_run_was_made_from(made: Made) -> None:
    """With a card that Hugging Face reads; the same run makes the same bytes."""
    opened = open_capsule(made.archive)
    assert opened.run == made.run
    assert {
        *("README.md", "history.json", "data.json", "run/config.yaml", "run/split.json"),
        *("run/checkpoints/best.weights.h5", "weights/final.npz", "run/validation.csv"),
        *("code/version.json", "environment/packages.txt", "environment/requirements.lock"),
    } <= opened.names
    card = opened.bytes_of("README.md").decode()
    head = yaml.safe_load(card.split("---\n")[1])
    (results,) = head["model-index"][0]["results"]
    assert head["pipeline_tag"] == "image-segmentation" and results["dataset"]["split"] == (
        "validation"
    )
    history = opened.json_of("history.json")
    best = max(epoch["metrics"]["val/dice"] for epoch in history)
    assert results["metrics"][0]["value"] == pytest.approx(best, abs=1e-4)
    data = opened.json_of("data.json")
    assert len(data["cases"]) == 4 and len(data["files"]) == 8
    assert results["dataset"]["revision"] == data["digest"]
    packages = opened.bytes_of("environment/packages.txt").decode()
    assert "tensorflow==" in packages.replace("-cpu", "")
    record = opened.json_of("run/record.json")
    assert "host" not in record["tags"] and "root" not in record["dataset"]
    second = made.folder / "again.zip"
    code, said = capsule(made.folder, f"run={made.run}", f"output={second}")
    assert code == 0 and second.read_bytes() == made.archive.read_bytes(), said


def test_it_comes_out_again_elsewhere(made: Made, tmp_path: Path) -> None:
    """Another folder, the same data: the first two epochs, of the schedule of three, are equal."""
    root = made.folder / "outputs" / "phantom_smoke"
    copied = shutil.copytree(root, tmp_path / "data")
    code, said = capsule(tmp_path, f"check={made.archive}", f"data.root={copied}", "epochs=2")
    assert code == 0 and "check: equal" in said and "6 equal, 0 within, 0 outside" in said, said
    found = json.loads((tmp_path / f"outputs/capsules/{made.run}-check.json").read_text())
    assert found["verdict"] == "equal" and len(found["epochs"]) == 6
    assert all(row["before"] == row["now"] for row in [*found["epochs"], *found["cases"]])
    assert only_run(tmp_path).name == found["again"] != made.run


def test_other_data_are_refused(made: Made, tmp_path: Path) -> None:
    """One line that names the cases and both digests, before any training."""
    root = made.folder / "outputs" / "phantom_smoke"
    copied = shutil.copytree(root, tmp_path / "data")
    one, two, *_ = sorted((copied / "labelsTr").iterdir())
    shutil.copy(one, two)
    code, said = capsule(tmp_path, f"check={made.archive}", f"data.root={copied}")
    assert code == 2 and "does not hold the data of the capsule: changed" in said, said
    assert "their digest is" in said and not (tmp_path / "outputs" / "runs").exists()


def altered(source: Path, target: Path, name: str, content: bytes) -> Path:
    """The archive with another file in place of one."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, content if entry.filename == name else old.read(entry))
    return target


def test_figures_that_do_not_come_out_end_in_1(made: Made, tmp_path: Path) -> None:
    """A capsule, whole by its manifest, of a run with other figures: weights against scores."""
    from unet3d.capsule.archive import write_archive

    with zipfile.ZipFile(made.archive) as archive:
        files = {n: archive.read(n) for n in archive.namelist() if n != "manifest.json"}
    scores = files["run/validation.csv"].decode().splitlines()
    case, epoch, *figures = scores[1].split(",")
    figures = [repr(float(figure) + 0.25) for figure in figures]
    files["run/validation.csv"] = "\n".join([scores[0], ",".join([case, epoch, *figures])]).encode()
    wrong = tmp_path / "wrong.zip"
    write_archive(wrong, made.run, files)
    root = made.folder / "outputs" / "phantom_smoke"
    arguments = (f"check={wrong}", "train=false", f"data.root={root}")
    code, said = capsule(tmp_path, *arguments)
    assert code == 1 and "check: outside" in said and f"of {case}:" in said, said
    assert not (tmp_path / "outputs" / "runs").exists()


def test_bad_archives_are_one_line(made: Made, tmp_path: Path) -> None:
    """No file, one cut short, one altered: exit code 2 and what is wrong."""
    cut, other = tmp_path / "cut.zip", tmp_path / "text.zip"
    content = made.archive.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    changed = altered(made.archive, tmp_path / "changed.zip", "history.json", b"[]")
    for given, expected in (
        ((f"check={tmp_path / 'none.zip'}",), "none.zip is not a file"),
        ((f"check={cut}",), "cut.zip is not a whole zip archive"),
        ((f"check={other}",), "text.zip is no capsule: it has no manifest.json"),
        ((f"check={changed}",), "changed.zip was changed: history.json has sha256"),
        (("run=nothing",), "run: nothing is not a run in outputs/runs"),
        ((), "type either run=<id> or check=<archive>"),
        ((f"check={made.archive}", "epochs=9", f"data.root={tmp_path}"), "epochs: 9 is more than"),
        ((f"check={made.archive}", "data.root=/nowhere", "train=false"), "data.root: /nowhere"),
    ):
        code, said = capsule(tmp_path, *given)
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert code == 2 and len(errors) == 1 and expected in errors[0], said


def test_a_run_that_has_not_finished_is_refused(made: Made, tmp_path: Path) -> None:
    """With the command that goes on with it."""
    folder = tmp_path / "outputs" / "runs" / made.run
    shutil.copytree(made.folder / "outputs" / "runs" / made.run, folder)
    facts = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**facts, "status": "KILLED"}))
    code, said = capsule(tmp_path, f"run={made.run}")
    assert code == 2 and "is KILLED" in said and f"resume={made.run}" in said, said
