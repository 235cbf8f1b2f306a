"""Downloads from a real web server on this machine, into real folders."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from tests.datasets.archive_server import ArchiveServer, serve
from unet3d.config.compose import compose_config, stored_config
from unet3d.config.schema import DataConfig, PhantomConfig, SourceConfig, as_dict
from unet3d.datasets import http as transfer
from unet3d.datasets.decathlon import read_decathlon
from unet3d.datasets.download import download
from unet3d.datasets.phantom import write_phantoms
from unet3d.errors import ConfigError, DataError
from unet3d.sweep.trial import Trial

NAMES = ["PHANTOM_001", "PHANTOM_002"]
OUTSIDE = Path(tempfile.gettempdir(), "unet3d_evil")
COMMAND = """
import sys
from unet3d.cli import main
main(["download", "data=msd", *sys.argv[1:]])
assert not {"tensorflow", "ray", "mlflow", "scipy", "matplotlib"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder Task with two phantoms, and what macOS puts beside files."""
    root = tmp_path_factory.mktemp("made") / "Task"
    write_phantoms(root, PhantomConfig(cases=2, shape=[32, 36, 28], spacing=[5.0, 5.0, 6.0]))
    (root / "imagesTr" / "._PHANTOM_001.nii.gz").write_bytes(b"of macOS")
    return root


@pytest.fixture(scope="module")
def archive(phantoms: Path) -> bytes:
    return tar_of(phantoms)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_WAIT", 0.001)


@pytest.fixture
def server(archive: bytes) -> Iterator[ArchiveServer]:
    with serve(ArchiveServer(archive)) as running:
        yield running


def tar_of(root: Path, mode: str = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as tar:
        tar.add(root, root.name)
    return packed.getvalue()


def zip_of(root: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as pack:
        for path in sorted(root.rglob("*")):
            pack.write(path, path.relative_to(root.parent))
    return packed.getvalue()


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def settings(server: ArchiveServer, root: Path, **changes: object) -> DataConfig:
    source = {"url": server.url, "checksum": sha256(server.content), **changes}
    return DataConfig(name="msd", root=str(root), source=SourceConfig(**source))


def left(root: Path) -> list[str]:
    """What lies beside the data set."""
    return sorted(path.name for path in root.parent.iterdir() if path != root)


def start(server: ArchiveServer, root: Path) -> subprocess.Popen[str]:
    """The real command, as a user types it."""
    source = [f"data.source.url={server.url}", f"data.source.checksum={sha256(server.content)}"]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, f"data.root={root}", *source],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_command_goes_on_after_kill_9_and_ends_at_once_when_all_is_there(
    server: ArchiveServer, tmp_path: Path
) -> None:
    """What is on disk after a kill does not come again; a third call asks for nothing."""
    root = tmp_path / "Task"
    server.silent_at = len(server.content) // 2
    killed = start(server, root)
    part = tmp_path / ".Task.download" / "part"
    deadline = time.monotonic() + 240
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    server.silent_at = None
    server.released.set()
    held = part.stat().st_size
    assert 0 < held < len(server.content) and left(root) == [".Task.download"]
    output, _ = (second := start(server, root)).communicate(timeout=60)
    assert second.returncode == 0, output
    assert server.asked == [None, f"bytes={held}-"]
    assert server.sent[1] == len(server.content) - held
    assert output.endswith(f"2 cases in {root}\n")
    assert [case.id for case in read_decathlon(root).cases] == NAMES and left(root) == []
    assert not list(root.rglob("._*"))
    output, _ = (third := start(server, root)).communicate(timeout=60)
    assert third.returncode == 0 and "already exists" in output and len(server.asked) == 2


def test_a_cut_connection_goes_on_from_the_byte_where_it_was_cut(
    server: ArchiveServer, tmp_path: Path
) -> None:
    """Two cuts, three requests, and the bytes sent are those of the file."""
    server.cuts = [100_000, 30_000]
    assert len(download(settings(server, tmp_path / "Task")).cases) == 2
    assert server.asked == [None, "bytes=100000-", "bytes=130000-"]
    assert sum(server.sent) == len(server.content)


def test_a_server_without_ranges_starts_again(server: ArchiveServer, tmp_path: Path) -> None:
    """The whole that it sends to a request for the rest is not appended to what was there."""
    server.ranges, server.cuts = False, [100_000]
    assert len(download(settings(server, tmp_path / "Task")).cases) == 2
    assert server.asked == [None, "bytes=100000-"]
    assert server.sent == [100_000, len(server.content)]


def test_a_file_that_changed_on_the_server_is_fetched_from_its_beginning(
    server: ArchiveServer, tmp_path: Path, phantoms: Path
) -> None:
    """Bytes of two versions are never put together: If-Range asks for the one begun with."""
    server.cuts, server.statuses = [100_000], [200, 403]
    with pytest.raises(DataError, match="HTTP 403"):
        download(settings(server, tmp_path / "Task"))
    server.content, server.etag = zip_of(phantoms), '"2"'
    assert len(download(settings(server, tmp_path / "Task")).cases) == 2
    assert server.asked == [None, "bytes=100000-", "bytes=100000-"]
    assert server.sent == [100_000, len(server.content)]


def test_wrong_bytes_are_deleted_and_told(server: ArchiveServer, tmp_path: Path) -> None:
    """One line names the address, the checksum asked for and the one found; nothing stays."""
    wanted = sha256(b"another file")
    with pytest.raises(DataError) as caught:
        download(settings(server, tmp_path / "Task", checksum=wanted))
    output = str(caught.value)
    assert server.url in output and wanted in output and sha256(server.content)[7:] in output
    assert "\n" not in output and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "requests"), [(404, 1), (403, 1), (500, transfer.TRIES), (503, transfer.TRIES)]
)
def test_a_refusal_is_one_line(
    server: ArchiveServer, tmp_path: Path, status: int, requests: int
) -> None:
    """The address and the status are named; only what may pass is tried again."""
    server.statuses = [status] * 20
    with pytest.raises(DataError, match=rf"^{server.url}: HTTP {status} \(\w") as caught:
        download(settings(server, tmp_path / "Task"))
    assert len(server.asked) == requests
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_silent_server_and_none_at_all_are_given_up(
    server: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came is kept, and the line says what is wrong with the connection."""
    monkeypatch.setattr(transfer, "TIMEOUT", (5.0, 0.1))
    monkeypatch.setattr(transfer, "TRIES", 2)
    server.silent_at = 2 * transfer.CHUNK_BYTES
    with pytest.raises(DataError, match=r"silent for 0.1 s, 2 times; 32.8 kB are kept"):
        download(settings(server, tmp_path / "Task"))
    assert left(tmp_path / "Task") == [".Task.download"]
    with pytest.raises(DataError, match="Connection refused, 2 times; repeat the command"):
        download(settings(server, tmp_path / "Other", url="http://127.0.0.1:9/archive.tar"))


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_other_archives_without_checksum_or_size(
    phantoms: Path, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They unpack as a tar does; a missing checksum is reported with the one to type."""
    content = zip_of(phantoms) if kind == "zip" else tar_of(phantoms, "w:gz")
    with serve(ArchiveServer(content, etag=None, length=False), f"Task.{kind}") as server:
        data = settings(server, tmp_path / "Task", checksum=None, keep=True)
        with caplog.at_level("INFO", "unet3d"):
            assert [case.id for case in download(data).cases] == NAMES
    assert f"data.source.checksum={sha256(content)}" in caplog.text
    assert left(tmp_path / "Task") == [f"Task.{kind}"]
    assert not list((tmp_path / "Task").rglob("._*"))


def test_an_archive_that_lies_beside_the_root_is_not_fetched(
    server: ArchiveServer, tmp_path: Path
) -> None:
    """A user's own copy is used, checked and never deleted."""
    (tmp_path / "archive.tar").write_bytes(server.content)
    wrong = settings(server, tmp_path / "Task", checksum=sha256(b"another file"))
    with pytest.raises(DataError, match=r"archive.tar: its checksum is sha256:\w+, not sha256"):
        download(wrong)
    assert len(download(settings(server, tmp_path / "Task")).cases) == 2
    assert server.asked == [] and left(tmp_path / "Task") == ["archive.tar"]


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 4 if kind == tarfile.REGTYPE else 0
    return info


def hostile_tar(*entries: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for info in (entry("Task/dataset.json"), *entries):
            tar.addfile(info, io.BytesIO(b"evil"))
    return packed.getvalue()


def hostile_zip(name: str, mode: int = 0o100644, body: bytes = b"evil") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("Task/dataset.json", "{}")
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        pack.writestr(info, body, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (hostile_tar(entry("Task/../../evil")), "outside the data set; nothing was unpacked"),
        (hostile_tar(entry(str(OUTSIDE))), "outside the data set; nothing was unpacked"),
        (
            hostile_tar(entry("Task/out", tarfile.SYMTYPE, "../.."), entry("Task/out/evil")),
            "Task/out, a link",
        ),
        (hostile_tar(entry("Task/out", tarfile.LNKTYPE, "../../victim")), "Task/out, a link"),
        (hostile_tar(entry("Task/pipe", tarfile.FIFOTYPE)), "Task/pipe, a link or a device"),
        (hostile_zip("Task/../../evil"), "outside the data set; nothing was unpacked"),
        (hostile_zip(str(OUTSIDE)), "outside the data set; nothing was unpacked"),
        (hostile_zip("Task/out", 0o120777, b"../.."), "Task/out, a link"),
        (hostile_tar(entry("Other/dataset.json")), "2 dataset.json files, in Task, Other"),
        (hostile_tar(), "dataset.json: not valid JSON"),
        (zip_of(Path(__file__)), "no dataset.json"),
        (b"<html>log in first</html>", "neither a tar nor a zip archive"),
        (hostile_zip("Task/a")[:-30], "neither a tar nor a zip archive"),
        (hostile_zip("Task/a", body=b"evil" * 99).replace(b"PK\1\2", b"PK\1\3"), "cannot be"),
    ],
)
def test_a_hostile_or_useless_archive_leaves_nothing(
    tmp_path: Path, content: bytes, message: str
) -> None:
    """Nothing is written outside the folder, and nothing inside it stays."""
    (tmp_path / "victim").write_text("kept")
    with serve(ArchiveServer(content)) as server, pytest.raises(DataError) as caught:
        download(settings(server, tmp_path / "deep" / "Task"))
    assert str(caught.value).startswith(f"{server.url}: ") and message in str(caught.value)
    assert {path.name for path in tmp_path.rglob("*")} == {"victim", "deep"}
    assert (tmp_path / "victim").read_text() == "kept" and not OUTSIDE.exists()


@pytest.mark.parametrize("free", [100, 300_000])
def test_too_small_a_disk_is_told_before_bytes_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """Of the archive and of what it unpacks to: a zip bomb of 1 MB is not begun."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    content = hostile_zip("Task/bomb", body=bytes(1_000_000))
    assert 100 < len(content) < 100_000
    message = "free some space, or set data.root to another disk"
    with serve(ArchiveServer(content)) as server, pytest.raises(DataError, match=message):
        download(settings(server, tmp_path / "Task"))
    kept = list(tmp_path.rglob("archive"))
    assert len(kept) == (1 if free > 100 else 0) and not (tmp_path / "Task").exists()


def test_what_cannot_be_downloaded_says_what_to_do(server: ArchiveServer, tmp_path: Path) -> None:
    """No source, generated data, and a folder that holds something else are reported at once."""
    with pytest.raises(ConfigError, match="msd: no source is set; type data.source.url=<address"):
        download(settings(server, tmp_path / "Task", url=None))
    with pytest.raises(ConfigError, match="generated on first use"):
        download(compose_config([f"output_dir={tmp_path}"]).data)
    (tmp_path / "Task").mkdir()
    (tmp_path / "Task" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="Task: not empty, but not a data set"):
        download(settings(server, tmp_path / "Task"))
    assert server.asked == []


def test_two_commands_do_not_write_the_same_part(server: ArchiveServer, tmp_path: Path) -> None:
    """The second ends with a line that names the folder, and does not disturb the first."""
    work = tmp_path / ".Task.download"
    work.mkdir()
    with (
        FileLock(work / "lock"),
        pytest.raises(DataError, match="Task: another process is downloading"),
    ):
        download(settings(server, tmp_path / "Task"))
    assert server.asked == [] and (work / "lock").exists()
    assert len(download(settings(server, tmp_path / "Task")).cases) == 2


def test_the_source_makes_no_other_trial_and_is_not_asked_of_older_runs(tmp_path: Path) -> None:
    """A sweep's finished trials stay finished, and a run from before the setting goes on."""
    source = ["data.source.url=http://mirror/a.tar", "data.source.keep=true"]
    plain, mirror = (compose_config(["data=msd", "data.root=x", *more]) for more in ([], source))
    assert Trial(0, (), {}, plain).key == Trial(0, (), {}, mirror).key
    stored = as_dict(plain)
    del stored["data"]["source"]
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(stored)))
    assert stored_config(tmp_path / "config.yaml") == plain
