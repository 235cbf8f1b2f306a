"""`unet3d preprocess parallel=experiment`: cases over the nodes of a real Ray cluster."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.commands import two_nodes
from tests.nifti_files import config as data_config
from tests.nifti_files import write_dataset
from tests.small import small_config
from unet3d.cluster.preprocess import (
    PreprocessJob,
    build_case,
    clean_and_check,
    preprocess_in_cluster,
)
from unet3d.config.schema import Config, DataConfig, PhantomConfig
from unet3d.datasets.decathlon import read_decathlon
from unet3d.errors import DataError, RunError
from unet3d.preprocessing.checksum import file_crc32
from unet3d.preprocessing.preprocess import preprocess


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray head without CPUs and two nodes with one each, as on three machines."""
    with two_nodes(1) as nodes:
        yield nodes


def on(cluster: Any, folder: Path, data: DataConfig) -> Config:
    """Settings to preprocess `data` on the cluster's two nodes."""
    base = small_config(folder, "parallel=experiment", f"parallel.address={cluster.address}")
    return replace(base, data=data, nodes=2)


def sums(store: Path) -> dict[str, str]:
    """CRC-32 of each file of a store."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): file_crc32(path) for path in files}


def test_nodes_build_what_threads_build(
    tmp_path: Path, cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The same files and the same message on a bad case; whole cases are not built again."""
    caplog.set_level(logging.INFO)
    root = write_dataset(tmp_path / "raw", cases=5)
    label = root / "labelsTr" / "case_3.nii.gz"
    label.write_bytes((root / "imagesTr" / "case_3.nii.gz").read_bytes())
    threads = data_config(tmp_path)
    nodes = data_config(tmp_path, store=str(tmp_path / "cluster"))
    messages = []
    for build in (preprocess, lambda data: preprocess_in_cluster(on(cluster, tmp_path, data))):
        with pytest.raises(DataError, match="1 of 5 cases cannot be used") as caught:
            build(threads if build is preprocess else nodes)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "4 cases over 2 node(s), one core per case" in caplog.text
    kept = {path: path.stat().st_ino for path in (tmp_path / "cluster").rglob("image.b2nd")}
    assert len(kept) == 4
    ours = preprocess_in_cluster(on(cluster, tmp_path, replace(nodes, on_bad_case="skip")))
    assert {path: path.stat().st_ino for path in kept} == kept
    theirs = preprocess(replace(threads, on_bad_case="skip"))
    assert list(ours.skipped) == ["case_3"] and sums(ours.path) == sums(theirs.path)


@contextmanager
def one_worker_killed(cases: Path) -> Iterator[None]:
    """kill -9 of the first worker that is seen in the midst of a case."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.001) and not killed:
            for half in cases.glob(".*.tmp-*"):
                killed.append(int(half.name.partition(".tmp-")[2].partition("-")[0]))
                psutil.Process(killed[0]).kill()
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert killed


def test_a_killed_worker_costs_nothing(tmp_path: Path, cluster: Any) -> None:
    """Another worker builds its case; without a retry it is reported and the others stay."""
    data = data_config(tmp_path, phantom=PhantomConfig(cases=4, shape=[96, 96, 96]), workers=1)
    expected = preprocess(data)
    nodes = on(cluster, tmp_path, replace(data, store=str(tmp_path / "cluster")))
    once = replace(nodes, parallel=replace(nodes.parallel, max_failures=0))
    path = tmp_path / "cluster" / expected.path.name
    with (
        pytest.raises(RunError, match="1 cases killed their worker 1 times") as caught,
        one_worker_killed(path / "cases"),
    ):
        preprocess_in_cluster(once)
    assert "its process was killed or ended by itself" in str(caught.value)
    assert len(list(path.glob("cases/*"))) == 3 and not list(path.glob("cases/.*"))
    with one_worker_killed(path / "cases"):
        preprocess_in_cluster(nodes)
    assert sums(path) == sums(expected.path)  # with whatever is left over, if there were any


def test_a_node_that_sees_too_little_is_named(tmp_path: Path) -> None:
    """Neither a first look nor a later case goes on where data or store are not shared."""
    root = write_dataset(tmp_path / "raw", cases=1)
    dataset = read_decathlon(root)
    job = PreprocessJob(
        dataset, data_config(tmp_path), tmp_path / "stores" / "s", tmp_path / "no job"
    )
    problem = clean_and_check(job)
    assert problem is not None and problem.startswith("data.store: node ")
    assert f" cannot see {tmp_path}/stores; choose" in problem
    (root / "dataset.json").unlink()
    with pytest.raises(RunError, match=f"data.root: node .* cannot see {root}; choose"):
        build_case(job, dataset.cases[0])
