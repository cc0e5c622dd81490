"""Pairs of two folders: partners by their names, laid over each other where they are other views of one thing.

B is moved, A stays: a homography from A's places to B's is found by ORB features (Rublee et al. 2011) and RANSAC, made
exact by maximizing the enhanced correlation coefficient (Evangelidis, Psarakis 2008), and both are cut to what they
share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from i2i import images
from i2i.data.arrival import arriving
from i2i.data.folders import pair as partners
from i2i.data.folders import read_pixels
from i2i.data.resize import resize
from i2i.errors import UserError

__all__ = ["Aligned", "Paired", "aligned", "homography", "pair"]

Pixels = NDArray[Any]
Way = Literal["auto", "resize", "views", "none"]
WAYS = ("auto", "resize", "views", "none")

SIDE = 800  # pixels of the longer side in which views are compared
FEATURES, INLIERS = 4000, 15
ASPECT = 0.01  # by how much aspects of one view may differ
CLEAR = 0.3  # correlation of details from which two views show one thing
SHARED = 0.25  # the least share of A that B must show
EDGE = 1.5  # pixels at the border of a moved picture that are mixed with what is not there


class Aligned(NamedTuple):
    """a, b: [H,W,C] of one size; how b was fitted to a; the correlation of their details, 1.0 where not looked at."""

    a: Pixels
    b: Pixels
    way: str
    correlation: float


@dataclass(frozen=True)
class Paired:
    """What became of a pair: its name, what was done, the correlation, or why there is none."""

    name: str
    way: str = ""
    correlation: float = 0.0
    wrong: str = ""


def pair(
    a: Path,
    b: Path,
    out: Path,
    *,
    align: Way = "auto",
    layout: Literal["side-by-side", "folders"] = "side-by-side",
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Paired], list[Path]]:
    """Write the pairs of the folders `a` and `b` into the folder `out`, as PNG, and tell what became of each.

    Args:
        align: "none": partners must have one size; "resize": the larger is reduced to the smaller; "views": a
            homography is found; "auto": as they are where they have one size, reduced where they have one aspect, else
            views.
        layout: both in one file, A left; or out/A and out/B.
        progress: called with the pairs done and all pairs.

    Returns: the pairs, and the files without a partner.

    Raises UserError where nothing pairs, no pair fits, or nothing can be written.
    """
    if align not in WAYS or layout not in ("side-by-side", "folders"):
        raise UserError(f"align '{align}' is none of {', '.join(WAYS)}, or layout '{layout}' neither of its two")
    couples, orphans = partners(a, b)
    with arriving(out, overwrite=overwrite) as part:
        names = [one.relative_to(a).with_suffix("").as_posix() for one, _ in couples]

        def make(index: int) -> Paired:
            try:
                found = aligned(*map(read_pixels, couples[index]), align=align)
                write(part, names[index], found, layout)
                return Paired(names[index], found.way, found.correlation)
            except UserError as error:
                return Paired(names[index], wrong=str(error).removeprefix(f"{couples[index][0]}: "))

        done = list(in_order(make, len(couples), progress))
        if all(each.wrong for each in done):
            raise UserError(f"none of {len(done)} pairs can be made; {done[0].name}, for one: {done[0].wrong}", code=1)
    return done, orphans


def in_order(make: Callable[[int], Paired], count: int, progress: Callable[[int, int], None]) -> Iterator[Paired]:
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for number, each in enumerate(threads.map(make, range(count)), 1):
            progress(number, count)
            yield each


def write(out: Path, name: str, found: Aligned, layout: str) -> None:
    """The files of a pair."""
    files = {out / f"{name}.png": np.hstack(alike(found.a, found.b))}
    if layout == "folders":
        files = {out / "A" / f"{name}.png": found.a, out / "B" / f"{name}.png": found.b}
    for path, pixels in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        alpha = np.ascontiguousarray(pixels[..., -1]) if pixels.shape[2] in (2, 4) else None
        colours = pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]
        images.write(images.Picture(np.ascontiguousarray(colours), alpha), path)


def alike(a: Pixels, b: Pixels) -> tuple[Pixels, Pixels]:
    """Both as RGB of 8 bits, but where they have equal channels and bits."""
    if a.shape[2] == b.shape[2] and a.dtype == b.dtype:
        return a, b
    return rgb(a), rgb(b)


def rgb(pixels: Pixels) -> Pixels:
    """[H,W,1..4] => [H,W,3] uint8; alpha is cut."""
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(pixels[..., :1], 3, axis=2) if pixels.shape[2] < 3 else np.ascontiguousarray(pixels[..., :3])


def aligned(a: Pixels, b: Pixels, *, align: Way = "auto") -> Aligned:
    """Two pictures [H,W,C] brought to one size, the second one moved where it must be.

    Raises UserError where they do not fit, or show too little that is the same.
    """
    (height, width), (other_height, other_width) = a.shape[:2], b.shape[:2]
    same = (height, width) == (other_height, other_width)
    one_aspect = abs(width * other_height / (height * other_width) - 1) <= ASPECT
    if align == "none" and not same:
        sizes = f"{width}x{height} and {other_width}x{other_height}"
        raise UserError(f"the two are {sizes}; --align resize or views brings them to one size", code=1)
    if align == "resize" and not one_aspect:
        raise UserError(f"the two are of other shapes, {width}x{height} and {other_width}x{other_height}", code=1)
    if align != "views" and same:
        return Aligned(a, b, "as they are", 1.0)
    if align != "views" and one_aspect:
        if width > other_width:
            return Aligned(resize(a, width=other_width, height=other_height), b, "A reduced", 1.0)
        return Aligned(a, resize(b, width=width, height=height), "B reduced", 1.0)
    move, correlation = homography(a, b)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    moved = cv2.warpPerspective(b, move, (width, height), flags=flags).reshape(height, width, -1)
    top, left, bottom, right = shared(move, (width, height), (other_width, other_height))
    if (bottom - top) * (right - left) < SHARED * width * height:
        raise UserError("the two views share too little", code=1)
    here = np.s_[top:bottom, left:right]
    return Aligned(np.ascontiguousarray(a[here]), np.ascontiguousarray(moved[here]), "B moved", correlation)


def homography(a: Pixels, b: Pixels) -> tuple[NDArray[np.float64], float]:
    """[3,3] from A's pixels to B's, and the correlation of the details that it lays over each other.

    Raises UserError where the two views do not come together.
    """
    (one, reduced), (other, other_reduced) = small(a), small(b)
    starts = [move for move in (by_features(one, other), by_size(one, other)) if move is not None]
    best, correlation = starts[0], -1.0
    for start in starts:
        for move in (start, refined(one, other, start)):
            if move is not None and sound(move, one.shape) and (found := agreement(one, other, move)) > correlation:
                best, correlation = move, found
        if correlation >= CLEAR:
            break
    if correlation < CLEAR:
        raise UserError("the two views do not come together: nothing is seen that both show", code=1)
    return np.linalg.inv(other_reduced) @ best @ reduced, correlation


def small(pixels: Pixels) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """[h,w] gray of at most SIDE pixels, and [3,3] from the picture's places to its."""
    plane = np.asarray(cv2.cvtColor(rgb(pixels), cv2.COLOR_RGB2GRAY), np.uint8)
    scale = min(1.0, SIDE / max(plane.shape))
    size = round(plane.shape[1] * scale), round(plane.shape[0] * scale)
    reduced = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)
    return reduced, by_size(plane, reduced)


def by_features(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """The homography that most ORB features agree on; None where too few do."""
    orb = cv2.ORB.create(FEATURES, fastThreshold=7)
    (points, said), (other_points, other_said) = (orb.detectAndCompute(plane, None) for plane in (one, other))
    if said is None or other_said is None or min(len(points), len(other_points)) < INLIERS:
        return None
    near = cv2.BFMatcher(cv2.NORM_HAMMING).knnMatch(said, other_said, k=2)
    good = [two[0] for two in near if len(two) == 2 and two[0].distance < 0.8 * two[1].distance]
    if len(good) < INLIERS:
        return None
    source = np.array([points[match.queryIdx].pt for match in good], np.float32)
    target = np.array([other_points[match.trainIdx].pt for match in good], np.float32)
    cv2.setRNGSeed(0)  # RANSAC draws
    move, kept = cv2.findHomography(source, target, cv2.RANSAC, 3.0, maxIters=5000)
    return None if move is None or kept.sum() < INLIERS else np.asarray(move, np.float64)


def by_size(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The one picture stretched over the other. The middles of pixels are at whole numbers."""
    across, down = other.shape[1] / one.shape[1], other.shape[0] / one.shape[0]
    return np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])


def refined(one: NDArray[np.uint8], other: NDArray[np.uint8], start: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The homography near `start` with the largest enhanced correlation; None where that leads nowhere."""
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-6)
    whole, begin = np.full(other.shape, 255, np.uint8), start.astype(np.float32)
    try:
        _, move = cv2.findTransformECC(one, other, begin, cv2.MOTION_HOMOGRAPHY, until, whole, 5)
    except cv2.error:
        return None
    return np.asarray(move, np.float64)


def sound(move: NDArray[np.float64], shape: Sequence[int]) -> bool:
    """Whether A's corners go to a figure that is no fold, and is neither tiny nor huge."""
    height, width = shape[:2]
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    with np.errstate(all="ignore"):
        seen = cv2.perspectiveTransform(corners, move)[0]
    if not np.isfinite(seen).all():
        return False
    area = cv2.contourArea(seen.astype(np.float32), oriented=True) / (width * height)
    return bool(cv2.isContourConvex(seen.astype(np.float32)) and 0.01 < abs(area) < 100)


def agreement(one: NDArray[np.uint8], other: NDArray[np.uint8], move: NDArray[np.float64]) -> float:
    """The correlation of the details of A and of B laid over it, where B is."""
    size = one.shape[1], one.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    there = cv2.warpPerspective(np.ones(other.shape, np.float32), move, size, flags=flags) > 0.99
    if there.mean() < 0.05:
        return -1.0
    moved = cv2.warpPerspective(other, move, size, flags=flags)
    a, b = (plane - cv2.GaussianBlur(plane, (0, 0), 6) for plane in (one.astype(np.float32), moved.astype(np.float32)))
    inside = cv2.erode(there.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    a, b = a[inside], b[inside]
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))


def shared(move: NDArray[np.float64], size: tuple[int, int], other: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a rectangle in A that B covers: the edge least covered goes until all is."""
    width, height = size
    step = max(1, min(width, height) // 200)
    rows, columns = np.arange(0, height, step), np.arange(0, width, step)
    grid = np.stack(np.meshgrid(columns, rows), -1).astype(np.float64)
    seen = cv2.perspectiveTransform(grid.reshape(1, -1, 2), move).reshape(grid.shape)
    low, high = EDGE, np.array(other) - 1 - EDGE
    covered = np.asarray(((seen >= low) & (seen <= high)).all(-1))
    top, left, bottom, right = 0, 0, len(rows), len(columns)
    while top < bottom and left < right and not (here := covered[top:bottom, left:right]).all():
        edges = {"top": here[0], "bottom": here[-1], "left": here[:, 0], "right": here[:, -1]}
        worst = min(edges, key=lambda edge: float(edges[edge].mean()))
        if edges[worst].all():  # a hole in the middle, which a homography does not make
            return 0, 0, 0, 0
        top, bottom = top + (worst == "top"), bottom - (worst == "bottom")
        left, right = left + (worst == "left"), right - (worst == "right")
    if top >= bottom or left >= right:
        return 0, 0, 0, 0
    return int(rows[top]), int(columns[left]), int(rows[bottom - 1]) + 1, int(columns[right - 1]) + 1
