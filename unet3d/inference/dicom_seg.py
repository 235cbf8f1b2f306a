"""Segmentations as DICOM-SEG, in the frame of reference of the series that was segmented."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from unet3d.datasets.dicom import NEEDS, read_series
from unet3d.errors import ConfigError, DataError, in_a_line

SUFFIX = ".dcm"
SCHEME = "99UNET3D"  # of codes that are our own: the labels of a data set have no code in SNOMED
SERIES_NUMBER = 300
LONGEST_LABEL, LONGEST_DESCRIPTION = 64, 64  # characters of DICOM's LO


def check_dicom_seg() -> None:
    """ConfigError where what writes DICOM-SEG is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"format: dicom_seg needs highdicom; {NEEDS}") from error


def write_dicom_seg(
    path: Path, labels: np.ndarray, series: Path, names: Mapping[int, str], run: str
) -> None:
    """Write label values (x, y, z) on the grid of the `series` folder; the file appears whole.

    names: of the label values. Each is a segment, whose number counts from 1 and whose tracking id
    is the label's value; run: for the description. Raises DataError for a series that lacks what
    DICOM-SEG refers to, and where the file cannot be written.
    """
    import highdicom
    import pydicom

    found = read_series(series)
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in found.files]
    values = sorted(names)
    numbers: np.ndarray = np.zeros(256, np.uint8)
    numbers[values] = np.arange(1, len(values) + 1)
    frames = numbers[labels].T  # slices, rows, columns
    try:
        document = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=np.ascontiguousarray(frames),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _segment(number, value, names[value]) for number, value in enumerate(values, 1)
            ],
            series_instance_uid=highdicom.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="unet3d",
            manufacturer_model_name="unet3d",
            software_versions=_version(),
            device_serial_number="0",
            content_label="SEGMENTATION",
            content_description=f"by run {run}"[:LONGEST_DESCRIPTION],
            series_description="Segmentation by unet3d",
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{series}: does not allow a DICOM-SEG ({in_a_line(error)})") from error
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        document.save_as(temporary)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


def _segment(number: int, value: int, name: str) -> Any:
    from highdicom import UID, AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    label = name[:LONGEST_LABEL]
    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=Code(str(value), SCHEME, label),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name="unet3d",
            version=_version(),
            family=codes.DCM.ArtificialIntelligence,
        ),
        tracking_uid=UID(),
        tracking_id=str(value),
    )


def _version() -> str:
    try:
        return version("unet3d")
    except PackageNotFoundError:
        return "unknown"
