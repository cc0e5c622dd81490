"""Whether two pictures are one: re-encoded, resized, a little brighter, cropped or mirrored.

A picture's print is what its lowest frequencies say of its layout: of 32x32 grays the 99 DCT coefficients after the
mean, of norm 1, so that the product of two prints is their correlation. All are compared with all at once; the few that
come near are looked at in detail. Of BSDS500 no two pictures that differ came above 0.90, and what JPEG of quality 40,
halving, noise or a third less contrast leave stays above 0.98.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAR", "alike", "candidates", "fingerprint"]

Pixels = NDArray[Any]
Print = NDArray[np.float32]

SIDE = 32  # pixels of what a print is taken of
LOW = 10  # frequencies along each side
FLAT = 1.0  # gray levels of contrast below which a picture has no layout to speak of
NEAR = 0.9  # correlation of prints from which pictures are looked at
DETAIL = 128  # pixels of what is looked at
SAME = 0.9  # correlation of details from which pictures are one
SMALL = 64  # pixels; smaller ones are compared as they lie: too little is in them to tell a crop from another picture
EXACT = 0.95  # what they must reach
TINT = 30.0  # levels by which the colours of one picture may differ where it has any, unless one is gray
ODD = np.tile(np.where(np.arange(LOW) % 2, -1, 1), LOW).astype(np.float32)  # what mirroring does to the coefficients


def gray(pixels: Pixels, side: int) -> NDArray[np.float32]:
    """[H,W] or [H,W,C], uint8 or uint16 => [side,side] of 0 to 255."""
    plane: Pixels = pixels if pixels.ndim == 2 else pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        plane = np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY))
    if plane.dtype == np.uint16:
        plane = (plane >> 8).astype(np.uint8)
    return cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)


def fingerprint(pixels: Pixels) -> Print:
    """[H,W] or [H,W,C] => [100]."""
    low = cv2.dct(gray(pixels, SIDE))[:LOW, :LOW].ravel()
    low[0] = 0
    return np.asarray(low / max(float(np.linalg.norm(low)), SIDE * FLAT), np.float32)


def candidates(mine: Sequence[Print], theirs: Sequence[Print]) -> Iterator[tuple[float, int, int, bool]]:
    """(correlation, number, number, mirrored) of pictures of two sets whose prints come near, the nearest first."""
    if not len(mine) or not len(theirs):
        return
    first, second = np.stack(mine), np.stack(theirs)
    found = []
    for start in range(0, len(first), 2048):
        block = first[start : start + 2048]
        for mirrored, other in ((False, second), (True, second * ODD)):
            product = block @ other.T
            for row, column in np.argwhere(product >= NEAR):
                found.append((float(product[row, column]), start + int(row), int(column), mirrored))
    yield from sorted(found, reverse=True)


def alike(mine: Pixels, theirs: Pixels, *, mirrored: bool = False) -> bool:
    """Whether the details and the colours of two pictures say that they are one."""
    theirs = theirs[:, ::-1] if mirrored else theirs
    small = min(*mine.shape[:2], *theirs.shape[:2]) < SMALL
    return agreement(mine, theirs) >= (EXACT if small else SAME) and tinted_alike(mine, theirs)


def tinted_alike(mine: Pixels, theirs: Pixels) -> bool:
    """Whether two pictures have the same colours in the same places, or one of them has none."""
    chroma = []
    for pixels in (mine, theirs):
        if pixels.ndim == 2 or pixels.shape[2] < 3:
            return True
        levels = (pixels[..., :3] >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels[..., :3]
        small = cv2.resize(np.ascontiguousarray(levels), (8, 8), interpolation=cv2.INTER_AREA)
        chroma.append(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(np.float32))
    one, other = chroma
    strength = [np.abs(plane - 128).max(-1) for plane in chroma]
    coloured = np.maximum(*strength) > 8
    if not coloured.any() or min(float(plane.mean()) for plane in strength) < 2:
        return True
    return float(np.abs(one - other)[coloured].mean()) < TINT


def agreement(mine: Pixels, theirs: Pixels) -> float:
    """The correlation of two pictures' details, once the one is laid over the other."""
    least = min(*mine.shape[:2], *theirs.shape[:2])
    side = min(DETAIL, least)
    one, other = gray(mine, side), gray(theirs, side)
    if np.abs(one - other).mean() < 1:  # flat pictures have no details
        return 1.0
    found = correlation(one, other)
    if found >= SAME or least < SMALL:
        return found
    move = np.eye(2, 3, dtype=np.float32)
    whole = np.full(one.shape, 255, np.uint8)
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-4)
    try:  # a crop, or a frame cut away
        _, found_move = cv2.findTransformECC(one, other, move, cv2.MOTION_AFFINE, until, whole, 5)
    except cv2.error:  # they do not come together
        return found
    move = np.asarray(found_move, np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = np.asarray(
        cv2.warpAffine(other, move, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT), np.float32
    )
    there = cv2.warpAffine(np.ones_like(other), move, (side, side), flags=flags) > 0.99
    return found if there.mean() < 0.5 else max(found, correlation(one, moved, there))


def correlation(one: NDArray[np.float32], other: NDArray[np.float32], where: NDArray[np.bool_] | None = None) -> float:
    """Of two grays without what is coarse in them."""
    a, b = (plane - cv2.GaussianBlur(plane, (0, 0), 4) for plane in (one, other))
    a, b = (a, b) if where is None else (a[where], b[where])
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))
