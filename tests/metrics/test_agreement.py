"""Label maps beside the true ones: colours become classes, and one confusion matrix gives every figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from i2i.errors import UserError
from i2i.metrics.agreement import Agreement, Palette

THREE = Palette("three", {"sky": (0, 0, 200), "grass": (0, 200, 0), "wall": (200, 0, 0)}, ((0, 0, 0),))


def drawn(labels: list[list[int]], palette: Palette = THREE) -> NDArray[np.uint8]:
    """A map in the palette's colours, those that are ignored after the classes'."""
    colours = np.array([*palette.classes.values(), *palette.ignored], np.uint8)
    return colours[np.array(labels)]


def measured(*pairs: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> dict[str, float]:
    agreement = Agreement(THREE)
    for fake, real in pairs:
        agreement.add(fake, real)
    return agreement.figures()


def test_figures_of_a_matrix_worked_out_by_hand() -> None:
    #                  truth sky 4, grass 2        drawn sky 3, grass 2, wall 1
    figures = measured((drawn([[0, 0, 0], [1, 1, 2]]), drawn([[0, 0, 0], [0, 1, 1]])))
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["accuracy_sky"] == 3 / 4 and figures["accuracy_grass"] == 1 / 2
    assert "accuracy_wall" not in figures  # the truth has none
    assert figures["class_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert (figures["iou_sky"], figures["iou_grass"], figures["iou_wall"]) == pytest.approx((3 / 4, 1 / 3, 0))
    assert figures["miou"] == pytest.approx((3 / 4 + 1 / 3 + 0) / 3)


def test_what_neither_side_has_is_left_out() -> None:
    figures = measured((drawn([[0, 1]]), drawn([[0, 1]])))
    assert (figures["miou"], figures["class_accuracy"], figures["rmse"], figures["within5"]) == (1, 1, 0, 1)
    assert "iou_wall" not in figures


def test_one_matrix_is_counted_over_the_set_and_parts_can_be_merged() -> None:
    draw = np.random.default_rng(0)
    pairs = [(drawn(draw.integers(0, 3, size).tolist()), drawn(draw.integers(0, 3, size).tolist()))
             for size in ((4, 9), (30, 2), (5, 5))]  # fmt: skip
    whole, first, rest = Agreement(THREE), Agreement(THREE), Agreement(THREE)
    for number, pair in enumerate(pairs):
        whole.add(*pair)
        (rest if number else first).add(*pair)
    flat = [(np.concatenate([one.reshape(1, -1, 3) for one in side], axis=1)) for side in zip(*pairs, strict=True)]
    first.merge(rest)
    assert first.figures() == whole.figures() == measured((flat[0], flat[1]))
    assert (first.pairs, first.pixels) == (3, 121)
    with pytest.raises(ValueError, match="by the palettes three and maps cannot be merged"):
        first.merge(Agreement(Palette.read("maps")))


def test_an_ignored_truth_is_not_measured_and_never_drawn() -> None:
    figures = measured((drawn([[0, 1, 3]]), drawn([[0, 3, 0]])))
    assert figures["accuracy"] == 1  # the second is ignored; drawn black is a class all the same, here the first
    black = np.zeros((2, 2, 3), np.uint8)
    assert (THREE.labels(black) == 0).all() and (THREE.labels(black, truth=True) == 3).all()
    with pytest.raises(ValueError, match="no pixel of a class of the palette three"):
        measured((drawn([[0]]), drawn([[3]])))
    with pytest.raises(ValueError, match="no pixel"):
        Agreement(THREE).figures()


def test_the_nearest_colour_is_taken_also_in_large_maps() -> None:
    palette = Palette.read("cityscapes")
    pixels = np.random.default_rng(0).integers(0, 256, (700, 600, 3), dtype=np.uint8)
    found = palette.labels(pixels)
    colours = np.array(list(palette.classes.values()), np.int64)
    for row in (0, 123, 699):
        distances = ((pixels[row, :, None].astype(np.int64) - colours) ** 2).sum(-1)
        assert (found[row] == distances.argmin(-1)).all()


def test_other_sizes_and_other_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="of 2x1 and 1x1 pixels"):
        measured((drawn([[0, 0]]), drawn([[0]])))
    with pytest.raises(TypeError, match=r"uint8 \[H,W,3\], not float64 \[1, 1, 3\]"):
        measured((drawn([[0]]) / 255, drawn([[0]]) / 255))


def test_a_palette_is_a_file_of_colours(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("# mine\n\n0 0 200 blue sky  # far\n\t0 200 0 grass\n0 0 0 -\n9 9 9 -\n")
    palette = Palette.read(file)
    assert palette.name == "mine"
    assert dict(palette.classes) == {"blue sky": (0, 0, 200), "grass": (0, 200, 0)}
    assert palette.ignored == ((0, 0, 0), (9, 9, 9))


def test_palettes_that_ship() -> None:
    assert list(Palette.read("maps").classes) == ["background", "road", "park", "water", "highway"]
    city = Palette.read("cityscapes")
    assert (len(city.classes), city.classes["car"], len(city.ignored)) == (19, (0, 0, 142), 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 3 a\n1 2 x b", "line 2: '1 2 x b' is not 'red green blue name'"),
        ("1 2 256 a", "line 1: '1 2 256 a' is not"),
        ("1 2 3", "line 1: '1 2 3' is not"),
        ("1 2 3 a\n4 5 6 a", "line 2: '4 5 6 a' is there a second time"),
        ("1 2 3 a\n1 2 3 -", "line 2: '1 2 3 -' is there a second time"),
        ("1 2 3 a", "names 1 classes; a palette needs two or more"),
    ],
)
def test_mistakes_in_a_palette_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(UserError, match=said):
        Palette.read(tmp_path / "p.txt")


def test_what_is_no_palette_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\xff")
    for which in ("mops", tmp_path / "picture.png", tmp_path):
        with pytest.raises(UserError, match="is no palette: neither cityscapes, maps nor a text file of 'r g b name'"):
            Palette.read(which)
