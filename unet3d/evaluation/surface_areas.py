"""The surface of a mask as small elements, one between every eight neighbouring voxels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations, product

import numpy as np

INSIDE = 255  # the code of eight voxels that all belong to the mask
CORNERS = tuple(product((0, 1), repeat=3))
BITS = {corner: 1 << (corner[0] + 2 * corner[1] + 4 * corner[2]) for corner in CORNERS}


def neighbour_codes(mask: np.ndarray) -> np.ndarray:
    """Which of the eight voxels around each meeting point belong to `mask`.

    mask: boolean (x, y, z), counted as empty beyond its border.
    Returns uint8 (x + 1, y + 1, z + 1), one bit per voxel (`BITS`); point (0, 0, 0) is the first
    voxel's outer corner. A surface runs through a point unless its code is 0 or `INSIDE`.
    """
    # Two, four, then eight voxels: three passes instead of one for each of the eight.
    # In C order, as `edt` reverses the spacing of other orders.
    codes = np.ascontiguousarray(np.pad(mask, 1)).view(np.uint8)
    codes = codes[:-1] | codes[1:] << 1
    codes = codes[:, :-1] | codes[:, 1:] << 2
    return codes[:, :, :-1] | codes[:, :, 1:] << 4


def element_areas(spacing: Sequence[float]) -> np.ndarray:
    """The area of the surface within a cell, for each neighbour code.

    The surface is that of marching cubes through the middles of the cell's edges (Lorensen and
    Cline 1987), in which separate corners are cut off separately.
    spacing: mm along x, y, z. Returns float64 (256,), mm^2; 0 for codes 0 and `INSIDE`.
    """
    x, y, z = spacing
    scale = np.array([y * z, x * z, x * y]) / 8
    areas: np.ndarray = np.zeros(256)
    for code, pieces in _pieces().items():
        areas[code] = sum(np.linalg.norm(np.array(piece) * scale) for piece in pieces)
    return areas


Corner = tuple[int, ...]
Piece = tuple[int, ...]  # a flat piece's area vector, without signs, in eighths of a cell's face


@cache
def _pieces() -> dict[int, list[Piece]]:
    """The flat pieces of each code's surface in a cell of 1 mm."""
    pieces: dict[int, list[Piece]] = {}
    for code in range(256):
        inside = [corner for corner in CORNERS if BITS[corner] & code]
        # Seen from outside the surface is the same, so at most four corners describe it.
        if len(inside) > 4:
            inside = [corner for corner in CORNERS if corner not in inside]
        pieces[code] = [piece for part in _connected_corners(inside) for piece in _around(part)]
    return pieces


def _edges(corners: Sequence[Corner]) -> list[tuple[Corner, Corner, int]]:
    """Pairs of corners one edge apart, with the edge's axis."""
    return [
        (a, b, [p != q for p, q in zip(a, b, strict=True)].index(True))
        for a, b in combinations(corners, 2)
        if sum(p != q for p, q in zip(a, b, strict=True)) == 1
    ]


def _connected_corners(corners: Sequence[Corner]) -> list[list[Corner]]:
    """The groups of corners that the cell's edges connect."""
    group = {corner: index for index, corner in enumerate(corners)}
    for a, b, _ in _edges(corners) * len(corners):
        group[a] = group[b] = min(group[a], group[b])
    return [[c for c in corners if group[c] == index] for index in sorted(set(group.values()))]


def _around(part: Sequence[Corner]) -> list[Piece]:
    """The pieces that separate one to four connected corners from the rest of the cell."""
    edges = _edges(part)
    axes = [axis for _, _, axis in edges]
    if len(part) == 1:
        return [(1, 1, 1)]
    if len(part) == 2:
        return [_vector({axis: 4 for axis in range(3) if axis not in axes})]
    if len(set(axes)) == 2:  # in one face: three of its corners, or the whole face
        (across,) = {0, 1, 2} - set(axes)
        return [(3, 3, 3), _vector({across: 4})] if len(part) == 3 else [_vector({across: 8})]
    ends = [corner for a, b, _ in edges for corner in (a, b)]
    if max(ends.count(corner) for corner in part) == 3:  # a corner with its three neighbours
        return [(6, 6, 6)]
    # A path that turns twice.
    (middle,) = [axis for a, b, axis in edges if ends.count(a) == ends.count(b) == 2]
    turns = [_vector({middle: 2, axis: 2}) for axis in range(3) if axis != middle]
    return [(4, 4, 4), *turns]


def _vector(lengths: dict[int, int]) -> Piece:
    return tuple(lengths.get(axis, 0) for axis in range(3))
