"""data.stage_to: the copy of a store on a node's own disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import REPOSITORY
from tests.nifti_files import config, write_dataset
from tests.small import small_config
from unet3d.errors import ConfigError, DataError
from unet3d.preprocessing.checksum import file_crc32
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.staging import stage
from unet3d.preprocessing.store import Store, open_store


def _sums(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): file_crc32(p) for p in sorted(folder.glob("*/*"))}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    write_dataset(tmp_path / "raw", cases=4)
    return preprocess(config(tmp_path))


def test_a_stopped_copy_goes_on_and_others_add_theirs(tmp_path, store):
    """Only what is missing or damaged is copied; the marker names all; identity stays."""
    staged = stage(store, ["case_0", "case_1"], tmp_path / "ssd")
    assert staged.key == store.key and list(staged.cases) == ["case_0", "case_1"]
    np.testing.assert_array_equal(staged.image("case_1"), store.image("case_1"))
    with pytest.raises(DataError, match="has no case case_3"):
        staged.image("case_3")
    cases = staged.path / "cases"
    kept = (cases / "case_0" / "image.b2nd").stat().st_ino
    (staged.path / "store.json").unlink()  # as a copy that was killed leaves it
    (cases / "case_1" / "label.b2nd").unlink()
    (cases / ".case_2.tmp-999999999-0000000000000000").mkdir()
    stage(store, ["case_1", "case_0"], tmp_path / "ssd")
    stage(store, ["case_3"], tmp_path / "ssd")
    assert (cases / "case_0" / "image.b2nd").stat().st_ino == kept
    whole = open_store(staged.path)
    assert list(whole.cases) == ["case_0", "case_1", "case_3"] and whole.key == store.key
    expected = _sums(store.path / "cases")
    assert _sums(cases) == {k: v for k, v in expected.items() if not k.startswith("case_2")}


STAGE = """
import sys
from pathlib import Path
from unet3d.preprocessing.staging import stage
from unet3d.preprocessing.store import open_store
from unet3d.logs import log_to_console
log_to_console()
store = open_store(Path(sys.argv[1]))
print(len(stage(store, store.cases, Path(sys.argv[2])).cases))
"""


def test_processes_of_a_node_share_one_copy(tmp_path, store):
    """Of three at once one copies, all read the whole, and nothing half-made is left."""
    command = [sys.executable, "-c", STAGE, str(store.path), str(tmp_path / "ssd")]
    processes = [
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert all(text.endswith("\n4\n") for text in outputs), outputs
    assert sum("copying 4 of 4 cases" in text for text in outputs) == 1
    cases = tmp_path / "ssd" / store.path.name / "cases"
    assert _sums(cases) == _sums(store.path / "cases") and not list(cases.glob(".*"))


def test_what_cannot_be_staged_is_reported_before_any_copying(tmp_path, store, monkeypatch):
    """No room, a folder that cannot be made, the store itself, a damaged case: one error each."""
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(ConfigError, match=r"data.stage_to: .* has 0.0 MB free, but 4 cases of"):
            stage(store, store.cases, tmp_path / "ssd")
    assert not list((tmp_path / "ssd").glob("*/cases/*"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"data.stage_to: .*file on .* cannot be written"):
        stage(store, store.cases, tmp_path / "file")
    with pytest.raises(ConfigError, match="holds the store itself"):
        stage(store, store.cases, store.path.parent)
    label = store.path / "cases" / "case_2" / "label.b2nd"
    content = bytearray(label.read_bytes())
    content[-1] ^= 1
    label.write_bytes(content)
    with pytest.raises(DataError, match=r"case_2/label.b2nd: .* with checksum .*verify=true"):
        stage(store, store.cases, tmp_path / "ssd")
    assert not (tmp_path / "ssd" / store.path.name / "cases" / "case_2").exists()


def test_a_training_reads_the_copy_and_resumes_without_it(tmp_path):
    """Training and validation cases alone are staged; the split stays with the original store."""
    from unet3d.training.resume import resumed_config
    from unet3d.training.setup import make_data, staged_store

    config = small_config(tmp_path, f"data.stage_to={tmp_path / 'ssd'}")
    store, _, record = make_data(config)
    split = record.split
    staged = staged_store(config, store, split)
    assert staged.path.parent == tmp_path / "ssd"
    assert set(staged.cases) == {*split.train, *split.val}
    run = tmp_path / "runs" / "abc"
    run.mkdir(parents=True)
    from omegaconf import OmegaConf

    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
    again = ["data.stage_to=null"]
    resumed = resumed_config(small_config(tmp_path, "resume=abc", *again), again)
    assert resumed.data.stage_to is None
