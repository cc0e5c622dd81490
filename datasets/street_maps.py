"""Draws street maps: places that do not exist, in the style, colours and scale of the pix2pix *maps* data set; and the
same places as if seen from the air, so that there are pairs to train on.

    python datasets/street_maps.py [OUT] [--side 512]                                  # the six maps that ship
    python datasets/street_maps.py OUT --pairs 400 --val 40 --side 64 [--seed 0]       # aerials beside maps

The six are what `i2i translate` shows when no other input is named, and nobody's map data. A unit is a pixel of the
original 600 x 600 tiles; networks are trained on tiles reduced to 280 pixels or so, and at 512 pixels these maps have
that scale. Everything is drawn four times larger and reduced, from a seed per map: the same pixels on every machine,
but for rounding. The files hold 64 colours each, which halves their size. Pairs are tiles of larger scenes at that
scale, 64 pairs of 64 pixels in a second; training and validation never share a scene.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Points = NDArray[np.float64]  # [n, 2] as x, y in units
Mask = NDArray[np.uint8]  # [side, side] at one pixel per unit; 255 where something is

# The commonest colours of the training maps, R, G, B.
GROUND, BUILDING, SHADOW = (233, 229, 222), (243, 240, 234), (217, 213, 206)
PARK, LAWN, PATH = (203, 223, 173), (190, 216, 154), (190, 187, 172)
WATER, SHORE = (177, 208, 254), (155, 195, 252)
CAMPUS, YARD, SQUARE = (232, 221, 189), (223, 218, 212), (237, 225, 208)
ROAD, CASING = (255, 255, 255), (214, 210, 202)
HIGHWAY, HIGHWAY_EDGE, RAMP, RAMP_EDGE = (250, 158, 36), (226, 132, 22), (255, 225, 140), (236, 196, 104)

STREET, AVENUE, BOULEVARD, MOTORWAY = 9.5, 12.0, 17.0, 27.0  # widths in units
EXTENT = 512 * 600 / 280  # units along each edge of a map
OVERSIZE = 4


@dataclass(frozen=True)
class Road:
    """A line with a width in units, drawn in `fill` with a thin edge around it; `over` lies above motorways."""

    line: Points
    width: float
    fill: tuple[int, int, int] = ROAD
    edge: tuple[int, int, int] = CASING
    over: bool = False


@dataclass
class Scene:
    """What stands on one map, in the order of drawing: areas, water, paths, buildings, roads.

    Attributes:
        side: units along each edge.
        draw: this map's stream of randomness.
    """

    side: float
    draw: np.random.Generator
    areas: list[tuple[Points, tuple[int, int, int]]] = field(default_factory=list)
    water: list[Points] = field(default_factory=list)
    islands: list[Points] = field(default_factory=list)
    paths: list[Points] = field(default_factory=list)
    buildings: list[Points] = field(default_factory=list)
    roads: list[Road] = field(default_factory=list)

    def at(self, *pairs: tuple[float, float]) -> Points:
        """Points given as fractions of the side, in units."""
        return np.array(pairs, float) * self.side

    def mask(self, shapes: Iterable[Points], grow: float = 0) -> Mask:
        """Where the polygons are, widened by `grow` units."""
        mask = np.zeros((int(self.side), int(self.side)), np.uint8)
        for shape in shapes:
            cv2.fillPoly(mask, [np.round(shape * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
        return widened(mask, grow)


def widened(mask: Mask, grow: float) -> Mask:
    if grow <= 0:
        return mask
    size = 2 * round(grow) + 1
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)


# --- lines and shapes ------------------------------------------------------------------------------------------------


def smooth(points: Points, *, closed: bool = False, step: float = 4) -> Points:
    """A Catmull-Rom curve through the points, a point every `step` units or so."""
    around = np.vstack([points[-1:], points, points[:2]] if closed else [points[:1], points, points[-1:]])
    pieces = []
    for a, b, c, d in zip(around, around[1:], around[2:], around[3:], strict=False):
        t = np.linspace(0, 1, max(2, int(np.hypot(*(c - b)) / step)), endpoint=False)[:, None]
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * (b - c) + d - a) * t**3))
    return np.vstack(pieces if closed else [*pieces, points[-1:]])


def blob(scene: Scene, centre: tuple[float, float], radius: tuple[float, float], rough: float = 0.16) -> Points:
    """A rounded shape around `centre` (fractions of the side) with radii in units."""
    turns = np.linspace(0, 2 * np.pi, 13)[:-1]
    reach = 1 + rough * scene.draw.uniform(-1, 1, turns.size)
    ring = np.stack([np.cos(turns) * radius[0], np.sin(turns) * radius[1]], 1) * reach[:, None]
    return smooth(ring + np.array(centre) * scene.side, closed=True)


def band(line: Points, width: float | NDArray[np.float64]) -> Points:
    """The polygon of a line with a width, which may vary along it."""
    along = np.gradient(line, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    reach = np.broadcast_to(np.asarray(width, float) / 2, len(line))[:, None]
    return np.vstack([line + across * reach, (line - across * reach)[::-1]])


def rectangle(centre: Points, length: float, depth: float, angle: float) -> Points:
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    return centre + corners[:, :1] * length * along + corners[:, 1:] * depth * across


def open_parts(line: Points, blocked: Mask, least: float) -> list[Points]:
    """The stretches of a line that lie outside the mask, where at least `least` units long."""
    column, row = np.clip(np.round(line).astype(int), 0, len(blocked) - 1).T  # beyond the edge as at the edge
    free = blocked[row, column] == 0
    cuts = np.flatnonzero(np.diff(free.astype(np.int8))) + 1
    parts = [part for part, keep in zip(np.split(line, cuts), np.split(free, cuts), strict=True) if keep[0]]
    return [part for part in parts if len(part) > 1 and np.hypot(*np.diff(part, axis=0).T).sum() >= least]


def shoreline(scene: Scene, shapes: list[Points], distance: float) -> list[Points]:
    """Closed or open lines around the shapes at a distance in units, cut at the map's edge."""
    margin = 60
    side = int(scene.side) + 2 * margin
    mask = np.zeros((side, side), np.uint8)
    for shape in shapes:
        cv2.fillPoly(mask, [np.round((shape + margin) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    found, _ = cv2.findContours(widened(mask, distance), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    lines = []
    for contour in found:
        ring = contour[:, 0, :].astype(float)[::6] - margin
        edge = (ring < -margin + 4).any(1) | (ring > scene.side + margin - 4).any(1)
        if edge.any():  # start the line where the ring runs along the border of the canvas, which is no shore
            ring = np.roll(ring, -int(np.flatnonzero(edge)[-1]), axis=0)
            ring = ring[~np.roll(edge, -int(np.flatnonzero(edge)[-1]))]
        if len(ring) > 8:
            lines.append(smooth(ring[::3], closed=not edge.any()))
    return lines


# --- streets and houses ----------------------------------------------------------------------------------------------


def grid(
    scene: Scene,
    *,
    angle: float,
    block: tuple[float, float],
    blocked: Mask,
    bend: float = 0.0,
    gaps: float = 0.1,
    avenue: int = 4,
) -> None:
    """Streets in two directions over the whole map, outside `blocked`.

    Args:
        angle: of the long streets, in degrees.
        block: distance between parallel streets, in units: across the long streets, along them.
        bend: how far streets swing from the straight line, in units.
        gaps: share of the cross streets' pieces that are left out, which makes longer blocks.
        avenue: every so many streets one is wide.
    """
    turn = np.deg2rad(angle)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    reach = scene.side * 0.75
    middle = np.full(2, scene.side / 2)
    swing = scene.draw.uniform(0, 2 * np.pi, 2)

    def place(u: NDArray[np.float64], v: NDArray[np.float64]) -> Points:
        shift = bend * np.sin(u / 190 + swing[0]), bend * np.sin(v / 230 + swing[1])
        return np.asarray(middle + (u + shift[1])[:, None] * along + (v + shift[0])[:, None] * across)

    def stops(spacing: float) -> NDArray[np.float64]:
        count = int(2 * reach / spacing)
        return np.asarray(-reach + (np.arange(count) + scene.draw.uniform(0.3, 0.7)) * spacing
                          + scene.draw.uniform(-0.06, 0.06, count) * spacing)  # fmt: skip

    rows, columns = stops(block[0]), stops(block[1])
    run = np.arange(-reach, reach, 4.0)
    for number, v in enumerate(rows):
        width = AVENUE if number % avenue == 0 else STREET
        scene.roads += [Road(part, width) for part in open_parts(place(run, np.full(run.size, v)), blocked, 45)]
    for number, u in enumerate(columns):
        width = AVENUE if number % avenue == 1 else STREET
        kept = [scene.draw.random() >= gaps or width == AVENUE for _ in rows]
        start = 0
        while start < len(rows) - 1:
            stop = start
            while stop < len(rows) - 1 and kept[stop]:
                stop += 1
            if stop > start:
                piece = np.arange(rows[start], rows[stop] + 1e-6, 4.0)
                line = place(np.full(piece.size, u), piece)
                scene.roads += [Road(part, width) for part in open_parts(line, blocked, 45)]
            start = stop + 1


def build(scene: Scene, blocked: Mask, *, kind: Callable[[Points], str]) -> None:
    """Houses along both sides of every street, where nothing else stands; larger buildings inside the blocks.

    Args:
        blocked: where no house may stand, beside the roads.
        kind: point -> "houses", "rows", "large" or "none": what is built there.
    """
    taken = blocked.copy()
    for road in scene.roads:
        line = np.round(road.line * 16).astype(np.int32)
        cv2.polylines(taken, [line], False, 255, int(road.width) + 5, cv2.LINE_8, 4)
    for road in [road for road in scene.roads if road.fill == ROAD]:
        for side in (-1, 1):
            along_street(scene, road, side, taken, kind)
    for _ in range(int(scene.side**2 / 2200)):
        spot = scene.draw.uniform(0, scene.side, 2)
        style = kind(spot)
        angle = nearest_angle(scene, spot)
        size = scene.draw.uniform((26, 16), (85, 52)) if style == "large" else scene.draw.uniform((8, 6), (18, 12))
        if style != "none":
            put(scene, taken, rectangle(spot, size[0], size[1], angle), gap=6 if style == "large" else 4)


def along_street(scene: Scene, road: Road, side: int, taken: Mask, kind: Callable[[Points], str]) -> None:
    steps = np.hypot(*np.diff(road.line, axis=0).T)
    way = np.concatenate([[0], np.cumsum(steps)])
    position = scene.draw.uniform(6, 14)
    while position < way[-1] - 6:
        spot = np.array([np.interp(position, way, road.line[:, axis]) for axis in (0, 1)])
        ahead = np.array([np.interp(position + 3, way, road.line[:, axis]) for axis in (0, 1)])
        angle = float(np.arctan2(*(ahead - spot)[::-1]))
        across = side * np.array([-np.sin(angle), np.cos(angle)])
        style = kind(spot)
        if style == "large":
            length, depth, space = scene.draw.uniform(30, 80), scene.draw.uniform(22, 46), scene.draw.uniform(8, 26)
        elif style == "rows":
            length, depth, space = scene.draw.uniform(7, 22), scene.draw.uniform(16, 25), scene.draw.choice([0.6, 5.0])
        else:
            length, depth, space = scene.draw.uniform(8, 13), scene.draw.uniform(10, 17), scene.draw.uniform(4.5, 9)
        if style != "none":
            back = road.width / 2 + (5 if style == "rows" else scene.draw.uniform(7, 12)) + depth / 2
            centre = np.asarray(spot + across * back)
            put(scene, taken, rectangle(centre, length, depth, angle), gap=0 if style == "rows" else 3)
        position += length + space


def nearest_angle(scene: Scene, spot: Points) -> float:
    """The direction of the street nearest to a point, in radians."""
    best = min(scene.roads, key=lambda road: float(((road.line[::8] - spot) ** 2).sum(1).min()))
    at = int(((best.line - spot) ** 2).sum(1).argmin())
    before, after = best.line[max(0, at - 1)], best.line[min(len(best.line) - 1, at + 1)]
    return float(np.arctan2(*(after - before)[::-1]))


def put(scene: Scene, taken: Mask, shape: Points, *, gap: int) -> None:
    """Add a building if its ground, with a gap around it, is free; some large ones lose a corner or a wing."""
    low, high = np.floor(shape.min(0)).astype(int) - gap, np.ceil(shape.max(0)).astype(int) + gap + 1
    if (low < 0).any() or (high > int(scene.side)).any():
        return
    window = taken[low[1] : high[1], low[0] : high[0]]
    own = np.zeros(window.shape, np.uint8)
    cv2.fillPoly(own, [np.round((shape - low) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    if (window[widened(own, gap) > 0] > 0).any():
        return
    window[own > 0] = 255
    a, b, c, d = shape
    if np.hypot(*(b - a)) * np.hypot(*(c - b)) > 900 and scene.draw.random() < 0.5:  # an L: the corner at c is cut out
        cut = scene.draw.uniform(0.35, 0.65, 2)
        inner = a + (b - a) * cut[0] + (d - a) * cut[1]
        shape = np.array([a, b, b + (d - a) * cut[1], inner, d + (b - a) * cut[0], d])
    scene.buildings.append(shape)


# --- painting --------------------------------------------------------------------------------------------------------


class Canvas:
    """What a scene is drawn on, in units of the scene: [large, large, 3], four times as large as it is shown."""

    def __init__(self, scene: Scene, side: int, ground: tuple[int, ...] | NDArray[np.uint8]) -> None:
        self.scene, self.side, self.large = scene, side, side * OVERSIZE
        self.scale = self.large / scene.side
        self.pixels = np.empty((self.large, self.large, 3), np.uint8)
        self.pixels[:] = ground

    def fixed(self, points: Points) -> NDArray[np.int32]:
        return np.asarray(np.round(points * self.scale * 16), np.int32)

    def fill(self, shape: Points, colour: tuple[int, ...]) -> None:
        cv2.fillPoly(self.pixels, [self.fixed(shape)], colour, cv2.LINE_8, 4)

    def stroke(self, line: Points, width: float, colour: tuple[int, ...]) -> None:
        cv2.polylines(self.pixels, [self.fixed(line)], False, colour, max(1, round(width * self.scale)), cv2.LINE_8, 4)

    def mask(self, shapes: Iterable[Points], but: Iterable[Points] = ()) -> Mask:
        """Where shapes are, at the canvas's own scale."""
        mask = np.zeros((self.large, self.large), np.uint8)
        for some, value in ((shapes, 255), (but, 0)):
            for shape in some:
                cv2.fillPoly(mask, [self.fixed(shape)], value, cv2.LINE_8, 4)
        return mask

    def flood(self, shore: tuple[int, ...], deep: tuple[int, ...], reach: float) -> None:
        """The scene's water, from the colour at its shore to that `reach` units farther out."""
        wet = self.mask(self.scene.water, self.scene.islands)
        if wet.any():
            depth = np.clip(cv2.distanceTransform(wet, cv2.DIST_L2, 5) / (reach * self.scale), 0, 1)[wet > 0, None]
            self.pixels[wet > 0] = np.round(np.array(shore) * (1 - depth) + np.array(deep) * depth)

    def shown(self) -> NDArray[np.uint8]:
        """[side, side, 3]."""
        return np.asarray(cv2.resize(self.pixels, (self.side, self.side), interpolation=cv2.INTER_AREA), np.uint8)


def layers(scene: Scene) -> list[list[Road]]:
    """The roads, those below first."""
    return [
        [road for road in scene.roads if road.fill == ROAD and not road.over],
        [road for road in scene.roads if road.fill == RAMP],
        [road for road in scene.roads if road.fill == HIGHWAY],
        [road for road in scene.roads if road.over],
    ]


def paint(scene: Scene, side: int) -> NDArray[np.uint8]:
    """The scene as a map, [side, side, 3] RGB."""
    canvas = Canvas(scene, side, GROUND)
    for shape, colour in scene.areas:
        canvas.fill(shape, colour)
    canvas.flood(SHORE, WATER, 15)  # the originals darken water along its shore
    for line in scene.paths:
        canvas.stroke(line, 2.2, PATH)
    for shape in scene.buildings:
        canvas.fill(shape + 1.3, SHADOW)
        canvas.fill(shape, BUILDING)
    for layer in layers(scene):
        for road in layer:
            canvas.stroke(road.line, road.width + 2, road.edge)
        for road in layer:
            canvas.stroke(road.line, road.width, road.fill)
        for road in layer:
            if road.fill == HIGHWAY:
                canvas.stroke(road.line, 1.6, RAMP)
    return canvas.shown()


# --- from the air ----------------------------------------------------------------------------------------------------

SOIL, GRASS, TREE, LEAVES = (138, 128, 108), (96, 108, 72), (46, 60, 38), (66, 84, 50)
LAND = {
    PARK: (84, 100, 60),
    LAWN: (112, 128, 72),
    CAMPUS: (146, 138, 114),
    YARD: (130, 126, 120),
    SQUARE: (156, 148, 134),
}
ROOFS = ((150, 92, 74), (122, 82, 70), (168, 160, 150), (96, 92, 92), (188, 184, 178), (140, 120, 98))
ASPHALT, KERB, LINE, TRACK = (112, 110, 108), (162, 158, 150), (206, 204, 196), (168, 156, 128)
RIVER, BANK = (48, 72, 80), (84, 98, 84)
DARK = (44, 44, 48)


def blotches(draw: np.random.Generator, side: int, size: int) -> NDArray[np.float32]:
    """[side, side] of smooth noise in [-1,1], spots of about `size` pixels."""
    cells = max(2, side // size + 2)
    coarse = draw.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(-1, 1), np.float32)


def aerial(scene: Scene, side: int, draw: np.random.Generator) -> NDArray[np.uint8]:
    """The scene as a photograph from the air, [side, side, 3] RGB: its places are the map's, its colours not."""
    share = (0.5 + 0.5 * blotches(draw, side, 20))[..., None]
    ground = np.uint8(np.array(SOIL) * (1 - share) + np.array(GRASS) * share)
    large = side * OVERSIZE
    canvas = Canvas(scene, side, cv2.resize(ground, (large, large), interpolation=cv2.INTER_LINEAR))
    for shape, colour in scene.areas:
        canvas.fill(shape, LAND[colour])
    canvas.flood(BANK, RIVER, 30)
    for line in scene.paths:
        canvas.stroke(line, 2.6, TRACK)
    woods = canvas.mask((shape for shape, colour in scene.areas if colour == PARK), [*scene.water])
    for spot in draw.uniform(0, scene.side, (int(scene.side**2 / 320), 2)):
        column, row = np.int32(spot * canvas.scale)
        reach, there = draw.uniform(2.2, 5.2), woods[row, column] > 0
        if draw.random() < (0.85 if there else 0.16):
            circle(canvas, spot + 1.6, reach, DARK)
            circle(canvas, spot, reach, TREE)
            circle(canvas, spot - 0.3 * reach, 0.5 * reach, LEAVES)
    canvas.flood(BANK, RIVER, 30)  # over the trees that stand in it
    for shape in scene.buildings:
        roof = np.array(ROOFS[draw.integers(len(ROOFS))]) + draw.integers(-14, 15)
        canvas.fill(shape + 3.2, DARK)
        canvas.fill(shape, tuple(map(int, roof)))
        canvas.fill(shape.mean(0) + 0.55 * (shape - shape.mean(0)), tuple(map(int, roof + 12)))
    for layer in layers(scene):
        for road in layer:
            canvas.stroke(road.line, road.width + 2.4, KERB)
        for road in layer:
            canvas.stroke(road.line, road.width, ASPHALT)
        for road in layer:
            if road.width >= BOULEVARD:
                canvas.stroke(road.line, 1.1, LINE)
    light = 9 * blotches(draw, side, 48) + 7 * blotches(draw, side, 6) + draw.normal(0, 5, (side, side))
    return np.uint8((canvas.shown() + light[..., None] + draw.normal(0, 2, (side, side, 3))).clip(0, 255))


def circle(canvas: Canvas, spot: Points, reach: float, colour: tuple[int, ...]) -> None:
    """A disc around a point, its radius in units."""
    column, row = canvas.fixed(spot)
    cv2.circle(canvas.pixels, (int(column), int(row)), int(reach * canvas.scale * 16), colour, -1, cv2.LINE_8, 4)


SHEET = 512  # pixels along each edge of a drawn scene, which has the scale of the data set


def pairs(
    count: int, *, side: int = 256, seed: int = 0, split: int = 0
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """`count` pairs (aerial, map), [side, side, 3] RGB: tiles of scenes, of which no two splits have one in common.

    `side` is at most 512 pixels and divides it.
    """
    if SHEET % side:
        raise ValueError(f"pairs are tiles of {SHEET} pixels, which {side} does not divide; take 64, 128 or 256")
    across = SHEET // side
    for number in range(-(-count // across**2)):
        scene = Scene(EXTENT, np.random.Generator(np.random.PCG64([seed, split, number])))
        PLACES[number % len(PLACES)](scene)
        sheets = (
            aerial(scene, SHEET, np.random.Generator(np.random.PCG64([seed, split, number, 1]))),
            paint(scene, SHEET),
        )
        for tile in range(min(across**2, count - number * across**2)):
            row, column = side * (tile // across), side * (tile % across)
            one, other = (sheet[row : row + side, column : column + side].copy() for sheet in sheets)
            yield one, other


# --- the six places --------------------------------------------------------------------------------------------------


def park(scene: Scene, shape: Points, *, walks: int = 4, lawns: int = 0) -> None:
    """A green area with winding paths, on the land that is there already, and a lawn or two."""
    scene.areas.append((shape, PARK))
    centre, spread = shape.mean(0), shape.std(0)
    for _ in range(lawns):
        middle = (centre + spread * scene.draw.uniform(-0.45, 0.45, 2)) / scene.side
        reach = spread * scene.draw.uniform(0.22, 0.36)
        scene.areas.append((blob(scene, (middle[0], middle[1]), (reach[0], reach[1])), LAWN))
    outside = (255 - scene.mask([shape])) | scene.mask(scene.water, 6)
    for _ in range(walks):
        start, stop = shape[scene.draw.integers(len(shape), size=2)]
        knees = [start + (stop - start) * t + spread * scene.draw.uniform(-0.3, 0.3, 2) for t in (0.3, 0.7)]
        scene.paths += open_parts(smooth(np.array([start, *knees, stop])), outside, 60)


def through(scene: Scene, angle: float, spot: tuple[float, float], blocked: Mask, width: float = AVENUE) -> None:
    """A street across the whole map through a point, over rivers and motorways, broken off at `blocked`."""
    way = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    run = np.arange(-1.5 * scene.side, 1.5 * scene.side, 4.0)[:, None]
    line = np.array(spot) * scene.side + run * way
    scene.roads += [Road(part, width, over=True) for part in open_parts(line, blocked, 60)]


def motorway(scene: Scene, line: Points, *, exit_at: float, angle: float) -> None:
    """A motorway with an exit, a street that crosses it there, and four ramps between the two."""
    scene.roads.append(Road(line, MOTORWAY, HIGHWAY, HIGHWAY_EDGE))
    middle = int(exit_at * len(line))
    ahead = line[middle + 8] - line[middle - 8]
    ahead = ahead / np.hypot(*ahead)
    aside = np.array([-ahead[1], ahead[0]])
    for way in (-1, 1):
        for side in (-1, 1):
            knees = [line[middle + way * 60] + side * aside * 4, line[middle + way * 34] + side * aside * 17,
                     line[middle + way * 14] + side * aside * 34, line[middle] + side * aside * 54]  # fmt: skip
            scene.roads.append(Road(smooth(np.array(knees)), 8.5, RAMP, RAMP_EDGE))
    cross = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    run = np.arange(-230, 230, 4.0)[:, None]
    scene.roads.append(Road(line[middle] + run * cross, AVENUE, over=True))


def midtown(scene: Scene) -> None:
    """A dense grid around a long park with a pond."""
    green = rectangle(scene.at((0.47, 0.52))[0], 560, 268, np.deg2rad(-29))
    scene.water.append(blob(scene, (0.37, 0.59), (70, 46)))
    park(scene, np.vstack([np.linspace(a, b, 12) for a, b in zip(green, np.roll(green, -1, 0), strict=True)]), walks=12)
    scene.areas.append((blob(scene, (0.54, 0.49), (74, 48)), LAWN))
    blocked = scene.mask([green], 4)
    grid(scene, angle=-29, block=(82, 194), blocked=blocked, gaps=0.04, avenue=5)
    scene.roads += [Road(line, AVENUE) for line in shoreline(scene, [green], 9)]
    low = scene.at((0.82, 0.8))[0]
    build(scene, blocked, kind=lambda spot: "large" if np.hypot(*(spot - low)) < 230 else "rows")


def river(scene: Scene) -> None:
    """A river with two bridges, parks on its banks, and a town on either side."""
    bed = smooth(scene.at((-0.1, 0.36), (0.12, 0.33), (0.34, 0.44), (0.55, 0.6), (0.78, 0.58), (1.1, 0.44)))
    stream = band(bed, 118 + 26 * np.sin(np.arange(len(bed)) / 34))
    green = band(bed[60:170] + np.array([-18, 78]), 74 + 30 * np.sin(np.arange(110) / 35))
    meadow = blob(scene, (0.84, 0.34), (120, 92))
    scene.water.append(stream)
    park(scene, green, walks=5)
    park(scene, meadow, walks=6, lawns=1)
    blocked = scene.mask([stream, green, meadow], 7)
    grid(scene, angle=14, block=(105, 185), blocked=blocked, gaps=0.12)
    scene.roads += [Road(line, AVENUE) for line in shoreline(scene, [stream, green, meadow], 14)]
    for spot in ((0.2, 0.3), (0.66, 0.6)):
        through(scene, 104, spot, scene.mask([meadow], 7), BOULEVARD)
    build(scene, blocked, kind=lambda spot: "rows" if spot[1] < 0.4 * scene.side else "houses")


def suburb(scene: Scene) -> None:
    """Winding streets with single houses around a lake in a park."""
    scene.water.append(blob(scene, (0.6, 0.45), (205, 138), rough=0.2))
    green = blob(scene, (0.6, 0.46), (290, 215), rough=0.1)
    school = rectangle(scene.at((0.2, 0.8))[0], 210, 130, np.deg2rad(12))
    park(scene, green, walks=16)
    scene.areas += [(school, CAMPUS), (rectangle(school.mean(0) + np.array([48, 12]), 74, 62, np.deg2rad(12)), LAWN)]
    blocked = scene.mask([green], 8)
    grid(scene, angle=12, block=(100, 237), blocked=widened(blocked | scene.mask([school]), 10), bend=34, gaps=0.25)
    scene.roads += [Road(line, AVENUE) for line in shoreline(scene, [green], 16)]
    scene.roads += [Road(line, STREET) for line in shoreline(scene, [school], 12)]
    yard = scene.mask([school])
    build(scene, blocked, kind=lambda spot: "large" if inside(yard, spot) else "houses")


def junction(scene: Scene) -> None:
    """A motorway with an exit between warehouses and streets of houses."""
    line = smooth(scene.at((-0.1, 0.8), (0.16, 0.7), (0.4, 0.53), (0.62, 0.42), (0.84, 0.26), (1.1, -0.02)))
    verge = band(line, 76)
    yards = [
        rectangle(scene.at((0.3, 0.34))[0], 300, 150, np.deg2rad(-28)),
        rectangle(scene.at((0.74, 0.66))[0], 250, 140, np.deg2rad(-28)),
    ]
    green = blob(scene, (0.2, 0.12), (150, 92))
    scene.areas += [(yards[0], YARD), (yards[1], SQUARE)]
    park(scene, green, walks=7, lawns=1)
    blocked = scene.mask([verge, green], 5)
    grid(scene, angle=-28, block=(103, 209), blocked=widened(scene.mask([*yards]) | blocked, 4), gaps=0.15)
    scene.roads += [Road(edge, AVENUE) for edge in shoreline(scene, [verge], 12)]
    scene.roads += [Road(edge, STREET) for edge in shoreline(scene, [green], 10)]
    for spot in ((0.17, 0.69), (0.83, 0.26)):
        through(scene, 62, spot, widened(scene.mask([*yards, green]), 8))
    motorway(scene, line, exit_at=0.5, angle=62)
    works = scene.mask(yards, 60)
    build(scene, blocked, kind=lambda spot: "large" if inside(works, spot) else "houses")


def harbour(scene: Scene) -> None:
    """The sea with piers, a boulevard along the shore, a dense town behind."""
    shore = smooth(
        scene.at((0.3, -0.1), (0.33, 0.12), (0.27, 0.32), (0.31, 0.5), (0.42, 0.68), (0.62, 0.83), (0.7, 1.1))
    )
    sea = np.vstack([shore, scene.at((-0.1, 1.1), (-0.1, -0.1))])
    strip = np.vstack([shore[115:250], (shore[115:250] + np.array([62, -38]))[::-1]])
    square = rectangle(scene.at((0.77, 0.34))[0], 150, 110, np.deg2rad(-9))
    piers = [rectangle(shore[number] + np.array([-30, 0]), 150, 22, np.deg2rad(-7)) for number in range(34, 112, 16)]
    island = blob(scene, (0.13, 0.8), (66, 48))
    scene.areas.append((np.vstack([shore, (shore + np.array([36, -8]))[::-1]]), YARD))
    scene.water.append(sea)
    scene.areas.append((island, PARK))
    park(scene, strip, walks=5)
    park(scene, square, walks=4)
    scene.islands += [*piers, island]
    blocked = scene.mask([sea, strip], 34) | scene.mask([square], 6)
    grid(scene, angle=-9, block=(84, 174), blocked=blocked, gaps=0.06)
    scene.roads += [Road(line, BOULEVARD) for line in shoreline(scene, [sea, strip], 40)[:1]]
    scene.roads += [Road(line, STREET) for line in shoreline(scene, [square], 10)]
    build(scene, scene.mask([sea, strip], 8) | scene.mask([square], 4), kind=lambda _: "rows")
    scene.buildings += [rectangle(pier.mean(0), 96, 11, np.deg2rad(-7)) for pier in piers[::2]]


def outskirts(scene: Scene) -> None:
    """A large park with a brook and ponds, a campus, houses, and a motorway at the edge."""
    border = smooth(scene.at((-0.1, 0.42), (0.16, 0.44), (0.36, 0.55), (0.47, 0.74), (0.44, 1.1)))
    green = np.vstack([border, scene.at((-0.1, 1.1))])
    campus = rectangle(scene.at((0.42, 0.2))[0], 330, 215, np.deg2rad(6))
    brook = smooth(scene.at((-0.1, 0.62), (0.08, 0.66), (0.17, 0.78), (0.3, 0.83), (0.35, 1.1)))
    line = smooth(scene.at((0.9, -0.1), (0.86, 0.16), (0.83, 0.42), (0.88, 0.7), (0.98, 1.1)))
    verge = band(line, 72)
    scene.water += [band(brook, 17), blob(scene, (0.13, 0.56), (52, 34)), blob(scene, (0.34, 0.68), (46, 60))]
    park(scene, green, walks=14)
    scene.areas += [(blob(scene, spot, (64, 46)), LAWN) for spot in ((0.24, 0.56), (0.32, 0.9), (0.07, 0.85))]
    scene.areas += [(campus, CAMPUS), (rectangle(scene.at((0.37, 0.19))[0], 88, 58, np.deg2rad(6)), LAWN)]
    blocked = scene.mask([green, verge], 6)
    grid(scene, angle=6, block=(98, 205), blocked=widened(blocked | scene.mask([campus]), 6), gaps=0.16)
    scene.roads += [Road(edge, AVENUE) for edge in shoreline(scene, [green], 14) + shoreline(scene, [verge], 12)]
    scene.roads += [Road(edge, STREET) for edge in shoreline(scene, [campus], 10)]
    for spot in ((0.8, 0.16), (0.88, 0.84)):
        through(scene, 6, spot, widened(scene.mask([green, campus]), 12))
    motorway(scene, line, exit_at=0.5, angle=6)
    yard = scene.mask([campus])
    build(scene, blocked, kind=lambda spot: "large" if inside(yard, spot) else "houses")


def inside(mask: Mask, spot: Points) -> bool:
    column, row = np.clip(np.round(spot).astype(int), 0, len(mask) - 1)
    return bool(mask[row, column])


PLACES = (midtown, river, suburb, junction, harbour, outskirts)


def street_map(number: int, *, side: int = 512) -> NDArray[np.uint8]:
    """Map `number` (0..5) of `PLACES`, as [side, side, 3] RGB."""
    scene = Scene(EXTENT, np.random.Generator(np.random.PCG64([2026, number])))
    PLACES[number](scene)
    return paint(scene, side)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    shipped = Path(__file__).resolve().parents[1] / "i2i" / "zoo" / "samples" / "street_maps"
    parser.add_argument("out", nargs="?", type=Path, default=shipped, help="folder to write to (the shipped samples)")
    parser.add_argument("--side", type=int, default=512, help="height and width in pixels")
    parser.add_argument(
        "--pairs", type=int, default=0, help="write so many training pairs, the aerial left, in OUT/train"
    )
    parser.add_argument("--val", type=int, default=0, help="and so many in OUT/val")
    parser.add_argument("--seed", type=int, default=0, help="of the pairs")
    chosen = parser.parse_args()
    if chosen.pairs:
        for split, (name, count) in enumerate({"train": chosen.pairs, "val": chosen.val}.items()):
            (chosen.out / name).mkdir(parents=True, exist_ok=True)
            for number, both in enumerate(pairs(count, side=chosen.side, seed=chosen.seed, split=split)):
                Image.fromarray(np.hstack(both)).save(chosen.out / name / f"{number:05}.png")
        print(f"{chosen.out}: {chosen.pairs} pairs for training, {chosen.val} for validation")
        return
    chosen.out.mkdir(parents=True, exist_ok=True)
    for number, place in enumerate(PLACES):
        path = chosen.out / f"{place.__name__}.png"
        drawn = street_map(number, side=chosen.side)
        Image.fromarray(drawn).quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
        print(f"{path} {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
