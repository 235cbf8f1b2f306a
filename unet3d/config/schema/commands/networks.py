"""Settings of the commands on trained networks and what they predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from omegaconf import MISSING

from unet3d.config.allowed import (
    AT_LEAST_0,
    AT_LEAST_1,
    AT_LEAST_2,
    FOLDER_NAME,
    NAME,
    PORT,
    RUN_ID,
    RUN_IDS,
    one_of,
)
from unet3d.config.schema.commands import shared
from unet3d.config.schema.commands.shared import (
    CONFIGURATION,
    REGIONS,
    THRESHOLDS,
    PostprocessConfig,
)
from unet3d.config.setting import group, setting


@dataclass
class PredictConfig:
    """`unet3d predict`: from scans to segmentations."""

    run: Optional[str] = setting(None, "id of a run, or several as a,b,c for their mean", RUN_IDS)
    input: str = setting(
        MISSING,
        "a scan, the files of its sequences as a,b,c,d or [a,b,c,d], or a folder of scans; the "
        "folder of a DICOM series is a scan, too",
        path=True,
    )
    output: str = setting(
        MISSING, "a .nii.gz file (or .dcm), or a folder if the input is one", path=True
    )
    format: str = setting(
        "nifti",
        "nifti: .nii.gz on the grid of the scan; dicom_seg: DICOM-SEG of a DICOM series",
        one_of("nifti", "dicom_seg"),
    )
    tta: bool = shared.tta()
    overlap: float = shared.overlap()
    batch_size: int = shared.windows()
    precision: str = shared.precision()
    postprocess: PostprocessConfig = group(PostprocessConfig)
    output_dir: str = shared.output_dir()
    threads: Optional[int] = shared.threads()
    sweep: Optional[str] = setting(
        None,
        "instead of run: name of a sweep, for the mean of the runs of its best configuration, as "
        "the folds of sweep.folds",
        FOLDER_NAME,
    )
    configuration: Optional[str] = setting(None, CONFIGURATION)
    thresholds: Any = setting("0.5", THRESHOLDS)
    probabilities: str = setting(
        "false",
        "also write the probability of each region, in the folder probabilities; true: as NIfTI; "
        "npz: as nnU-Net does, one .npz a case, float16",
        one_of("false", "true", "npz"),
    )
    uncertainty: bool = setting(
        False,
        "also write the entropy of the prediction, and of several runs the mutual information, as "
        "NIfTI, in the folder uncertainty",
    )


@dataclass
class TuneConfig:
    """`unet3d tune`: thresholds and post-processing, chosen on cases that were not trained on."""

    run: Optional[str] = setting(None, "id of a run, for its validation cases", RUN_ID)
    sweep: Optional[str] = setting(
        None,
        "name of a sweep, for the validation cases of all folds of a configuration",
        FOLDER_NAME,
    )
    configuration: Optional[str] = setting(None, CONFIGURATION)
    changed: str = shared.changed()
    tta: bool = shared.tta()
    overlap: float = shared.overlap()
    batch_size: int = shared.windows()
    precision: str = shared.precision()
    output_dir: str = shared.output_dir()
    threads: Optional[int] = shared.threads()


@dataclass
class EnsembleConfig:
    """`unet3d ensemble`: trials of a sweep that predict together."""

    sweep: str = setting(MISSING, "name of a sweep", FOLDER_NAME)
    members: int = setting(10, "trials to choose from, the best ones", AT_LEAST_2)
    rounds: int = setting(
        20, "networks in the mean at the most, counted as often as chosen", AT_LEAST_1
    )
    cases: Optional[int] = setting(
        None, "validation cases of each fold to choose by; null: all", AT_LEAST_1
    )
    changed: str = shared.changed()
    overlap: float = shared.overlap()
    batch_size: int = shared.windows()
    precision: str = shared.precision()
    output_dir: str = shared.output_dir()
    threads: Optional[int] = shared.threads()


@dataclass
class ExportConfig:
    """`unet3d export`: a run's network for other programs."""

    run: Optional[str] = setting(None, "id of a run", RUN_ID)
    sweep: Optional[str] = setting(
        None,
        "instead of run: name of a sweep, for the mean of the runs of a configuration as one "
        "network",
        FOLDER_NAME,
    )
    configuration: Optional[str] = setting(None, CONFIGURATION)
    output: str = setting(MISSING, "a folder, new or empty", path=True)
    format: str = setting(
        "savedmodel", "what is written", one_of("savedmodel", "onnx", "mlflow", "all")
    )
    log: bool = setting(False, "mlflow: log it as a model of the run in the tracking store, too")
    register: Optional[str] = setting(
        None, "mlflow: register it under this name in the model registry; implies log", NAME
    )
    output_dir: str = shared.output_dir()
    threads: Optional[int] = shared.threads()


@dataclass
class EvaluateConfig:
    """`unet3d evaluate`: a run on its test cases, or a folder of segmentations against another."""

    run: Optional[str] = setting(None, "id of a run", RUN_ID)
    again: bool = setting(False, "evaluate a run whose test cases were opened before")
    changed: str = shared.changed("test cases")
    tta: bool = shared.tta()
    overlap: float = shared.overlap()
    batch_size: int = shared.windows()
    precision: str = shared.precision()
    workers: Optional[int] = setting(
        None, "processes that compute the metrics; null: one per core", AT_LEAST_1
    )
    postprocess: PostprocessConfig = group(PostprocessConfig)
    pred: Optional[str] = setting(None, "folder of segmentations", path=True)
    truth: Optional[str] = setting(None, "folder of label files of the same names", path=True)
    regions: Any = setting("labels", REGIONS)
    tolerance: float = setting(1.0, "tolerance of NSD, in mm", AT_LEAST_0)
    # Any: a mapping or null; config/rules.py checks it.
    metrics: Any = setting(
        None,
        "{name: function} of metrics of your own, as validation.metrics; null: those that the run "
        "was validated by",
    )
    geometry: str = shared.geometry()
    output: Optional[str] = setting(
        None, "folder of the tables; null: that of the run, or of the segmentations", path=True
    )
    output_dir: str = shared.output_dir()
    threads: Optional[int] = shared.threads()
    sweep: Optional[str] = setting(
        None,
        "name of a sweep: with sweep.folds, each case by the run of its fold that did not train on "
        "it; else the test cases",
        FOLDER_NAME,
    )
    configuration: Optional[str] = setting(None, CONFIGURATION)
    part: str = setting(
        "auto",
        "sweep: auto: cases out of their folds, where there are folds; test: the test cases, by "
        "the mean of all folds",
        one_of("auto", "test"),
    )
    thresholds: Any = setting("0.5", THRESHOLDS)


@dataclass
class ViewConfig:
    """`unet3d view`: segmented cases in the browser; a picture, a GIF and a page of each."""

    image: str = setting(
        MISSING,
        "a scan, or the folder of a DICOM series; where pred is a folder, a folder of scans",
        path=True,
    )
    pred: str = setting(MISSING, "its segmentation, or a folder of them", path=True)
    truth: Optional[str] = setting(
        None,
        "its label file; where pred is a folder, a folder of files of the same names",
        path=True,
    )
    regions: Any = setting("labels", REGIONS)
    channel: int = setting(
        0,
        "which of the scan's sequences, counted from 0; in a folder each may be a file, "
        "<case>_0000 and so on",
        AT_LEAST_0,
    )
    window: Optional[list[float]] = setting(
        None,
        "[black,white] in the scan's values, for CT say [-160,240]; null: percentiles 0.5 and 99.5",
    )
    convention: str = setting(
        "radiological",
        "radiological: the patient's right at the left; neurological: at the right",
        one_of("radiological", "neurological"),
    )
    order: str = setting(
        "dice",
        "of a folder's cases: dice, the lowest mean Dice first where there is a truth, or name",
        one_of("dice", "name"),
    )
    geometry: str = shared.geometry()
    output: Optional[str] = setting(
        None,
        "folder of the files, with one in it for each of a folder's cases; null: <pred>_view, "
        "beside pred",
        path=True,
    )
    serve: Optional[bool] = setting(
        None,
        "show the cases in the browser, until Ctrl-C; null: where there is a screen; false: write "
        "the files alone",
    )
    port: Optional[int] = setting(None, "to listen on; null: any free one", PORT)
