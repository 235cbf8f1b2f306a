"""The MLflow model: its code as text, which MLflow runs when a model of `unet3d export` is loaded.

MLflow copies this file into the model and executes the copy, so nothing is pickled: the weights
are an HDF5 file, the rest YAML and JSON. Defining the class imports MLflow, so nothing else in
this package imports this module.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from unet3d.errors import DataError
from unet3d.inference.allowed_folders import check_allowed
from unet3d.inference.decision import plain_decision
from unet3d.inference.label_maps import labels_of
from unet3d.inference.network import TrainedNetwork, read_trained
from unet3d.inference.predict import predict_codes, segment_scan
from unet3d.inference.scan import find_scans, input_paths
from unet3d.run_folder import RunFolder

OVERLAP = 0.5  # of neighbouring windows, as in unet3d predict


class SegmentationModel(PythonModel):
    """Label volumes, uint8, of preprocessed images or of scan files."""

    def load_context(self, context: Any) -> None:
        """Build the networks and read their weights, once per process."""
        folder = Path(context.artifacts["members"])
        self.networks = [
            replace(_network(RunFolder(folder / run)), weight=weight)
            for run, weight in context.model_config["members"].items()
        ]

    @property
    def trained(self) -> TrainedNetwork:
        """The first of them, whose sequences and outputs are those of all."""
        return self.networks[0]

    def predict(
        self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> Any:  # MLflow reads type hints, and has none for "an array or a table"
        """Segment an array, or the scans of a table.

        model_input: float32 (n, x, y, z, channels), preprocessed, gives uint8 (n, x, y, z).
        A DataFrame with a column `input`, or a list of {"input": path}, gives a list of uint8
        (x, y, z), each on the grid of its scan; a path may be several, a,b,c: one per sequence.
        params: overlap of the windows, and tta for the mean over 8 flips.

        Raises DataError for an input that cannot be used.
        """
        given = {"overlap": OVERLAP, "tta": False, **(params or {})}
        overlap, tta = float(given["overlap"]), bool(given["tta"])
        paths = _paths(model_input)
        if paths is None:
            return np.stack(
                [self._labels(image, overlap, tta) for image in self._images(model_input)]
            )
        return [self._segment(path, overlap, tta) for path in paths]

    def _segment(self, path: str, overlap: float, tta: bool) -> np.ndarray:
        check_allowed(input_paths(path))
        scans = find_scans(path, len(self.trained.channels))
        if len(scans) != 1:
            raise DataError(f"input: {path} holds {len(scans)} scans; name one per row")
        check_allowed(scans[0].files)
        decision = plain_decision(self.trained.targets)
        return segment_scan(self.networks, scans[0], overlap, tta, decision)

    def _images(self, model_input: Any) -> np.ndarray:
        images: np.ndarray = np.asarray(model_input, dtype=np.float32)
        channels = self.trained.channels
        if images.ndim != 5 or images.shape[-1] != len(channels) or 0 in images.shape:
            raise DataError(
                f"input: shape {images.shape} is not (n, x, y, z, {len(channels)}); the last axis "
                f"is {', '.join(channels)}"
            )
        return images

    def _labels(self, image: np.ndarray, overlap: float, tta: bool) -> np.ndarray:
        codes = predict_codes(self.networks, [image] * len(self.networks), overlap, tta)
        return labels_of(codes, self.trained.targets)


def _network(run: RunFolder) -> TrainedNetwork:
    return read_trained(run.run_id, run.config, run.description, run.best_weights, batch_size=1)


def _paths(model_input: Any) -> list[str] | None:
    """The paths of scans, or None for an array."""
    if hasattr(model_input, "columns"):
        if "input" not in model_input.columns:
            raise DataError("input: the table lacks this column, which holds the paths")
        return [str(path) for path in model_input["input"]]
    rows = model_input if isinstance(model_input, (list, tuple)) else []
    if isinstance(model_input, dict):
        rows = [model_input]
    if not rows or not all(isinstance(row, dict) for row in rows):
        return None
    if not all("input" in row for row in rows):
        raise DataError('input: each row must be {"input": <path of a scan>}')
    return [str(row["input"]) for row in rows]


set_model(SegmentationModel())
