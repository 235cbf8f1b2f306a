"""Small DICOM series of a volume that is also at hand as a NIfTI file, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Oblique, with slices along the third axis, upwards; voxels of 1.5 x 2 x 3 mm.
TURN = 0.2
AFFINE = np.array(
    [
        [1.5, 0.0, 0.0, -10.0],
        [0.0, 2 * np.cos(TURN), -3 * np.sin(TURN), 20.0],
        [0.0, 2 * np.sin(TURN), 3 * np.cos(TURN), -30.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def scan(seed: int = 0) -> np.ndarray:
    """(16, 12, 8) int16: a body in air of -1000."""
    random = np.random.default_rng(seed)
    voxels: np.ndarray = np.full((16, 12, 8), -1000, np.int16)
    voxels[3:13, 2:10, 1:7] = random.integers(-100, 400, (10, 8, 6))
    return voxels


def write_series(
    folder: Path,
    voxels: np.ndarray,
    affine: np.ndarray = AFFINE,
    *,
    modality: str = "CT",
    series: str = "1.2.826.0.1.3680043.8.498.7",
    slopes: Any = None,
    intercept: float = -1024,
) -> list[Path]:
    """A file a slice, in an order of names that is not that of the slices; returns them sorted."""
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

    folder.mkdir(parents=True, exist_ok=True)
    lps = LPS @ affine
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    row, column = lps[:3, 0] / lengths[0], lps[:3, 1] / lengths[1]
    files = []
    for z in range(voxels.shape[2]):
        slope = 1 if slopes is None else slopes[z]
        one = pydicom.Dataset()
        one.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        one.SOPInstanceUID = f"{series}.{z + 1}"
        one.StudyInstanceUID, one.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.1", series
        one.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.2"
        one.Modality, one.SeriesDescription = modality, f"series {series[-1]}"
        one.PatientID, one.PatientName = "P1", "Test^Case"
        one.PatientBirthDate = one.PatientSex = one.AccessionNumber = one.StudyID = ""
        one.StudyDate, one.StudyTime, one.ReferringPhysicianName = "20200101", "120000", ""
        one.Manufacturer, one.InstanceNumber, one.SeriesNumber = "none", 99 - z, 1
        one.Rows, one.Columns = voxels.shape[1], voxels.shape[0]
        one.PixelSpacing = [f"{lengths[1]:.6f}", f"{lengths[0]:.6f}"]
        one.SliceThickness = f"{lengths[2]:.6f}"
        one.ImageOrientationPatient = [f"{value:.8f}" for value in (*row, *column)]
        place = lps @ np.array([0, 0, z, 1])
        one.ImagePositionPatient = [f"{value:.6f}" for value in place[:3]]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
        one.RescaleSlope, one.RescaleIntercept = str(slope), str(intercept)
        stored = np.rint((voxels[:, :, z].T.astype(float) - intercept) / float(slope))
        one.PixelData = np.ascontiguousarray(stored.astype(np.uint16)).tobytes()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
        path = folder / f"image{(z * 5) % voxels.shape[2]:03d}.dcm"
        one.save_as(path, enforce_file_format=True)
        files.append(path)
    return files
