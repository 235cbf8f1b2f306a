"""A study in the tracking store: one run, with its results, above the sweeps of its parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from unet3d.cluster.ray_cluster import cluster_address, ray_cluster
from unet3d.config.schema import Config
from unet3d.files import read_text, write_text
from unet3d.scaling.study_report import CellResult, StudyFacts, summarised
from unet3d.tracking.connection import record_or_warn
from unet3d.tracking.server import tracking_server
from unet3d.tracking.sweep import open_sweep

RECORD = "record.json"  # the id of the study's run


class StudyRecord:
    """A context manager. overrides: with which a sweep is recorded below the study."""

    def __init__(self, config: Config, folder: Path, facts: StudyFacts):
        known = json.loads(read_text(folder / RECORD) or "{}").get("run_id")
        tags = {
            "study": facts.name,
            "study.machine": facts.machine,
            "study.device": facts.device,
            "study.settings": " ".join(facts.overrides)[:5000],
            "mlflow.source.name": "unet3d scaling",
        }
        name = f"study {facts.name}"
        self.record = open_sweep(config, name, tags, known, "scaling.name")
        self.begun_before = known is not None
        self.overrides: list[str] = []
        if self.record is not None:
            write_text(folder / RECORD, json.dumps({"run_id": self.record.run_id}))
            self.overrides = [f"tracking.parent={self.record.run_id}"]
        if config.tracking.name == "server":  # which serves the whole study already
            self.overrides.append("tracking=mlflow")

    def __enter__(self) -> Self:
        return self

    def keep(self, results: Sequence[CellResult], files: Sequence[Path]) -> None:
        """Record speed-ups and efficiencies, with devices as steps, and the files as artifacts."""
        if self.record is None:
            return
        curves: dict[str, dict[int, float]] = {}
        for row in summarised(results):
            name = row.parallelism
            curves.setdefault(f"speedup/{name}", {})[row.devices] = row.speedup
            curves.setdefault(f"efficiency/{name}", {})[row.devices] = row.speedup / row.devices
            curves.setdefault(f"seconds/{name}", {})[row.devices] = row.seconds
        for curve, points in curves.items():
            record_or_warn(self.record.log_curve, curve, points)
        record_or_warn(self.record.log_files, files)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.record is None:
            return
        status = "FINISHED" if error is None else "FAILED"
        if error is not None and not isinstance(error, Exception):
            status = "KILLED"
        tags = {}
        if error is not None or self.begun_before:  # then of what ended the former command
            tags["unet3d.reason"] = str(error or "")[:5000]
        record_or_warn(self.record.close, status, tags, {})


@contextmanager
def study_server(config: Config) -> Iterator[None]:
    """tracking=server: one server for all parts of the study; else nothing."""
    if config.tracking.name != "server":
        yield
        return
    host = "127.0.0.1"
    if cluster_address(config) is not None:
        import ray

        with ray_cluster(config, ""):
            host = str(ray.util.get_node_ip_address())
    with tracking_server(config, host):
        yield
