"""How good are generators of handwritten digits? Measured on MNIST by a classifier that this repository has trained.

    python benchmarks/digits.py --model FILE [FILE ...] [-n 10000] [--check FAMILY] [--json]
    python benchmarks/digits.py --recogniser FILE [FILE ...]             # InfoGAN: are its codes the digits?
    python benchmarks/digits.py --model FILE --captions captioned_digits/test                           # StackGAN

The classifier (recipe classifier-mnist) sees pictures of 32 pixels; smaller ones are set into black. Pictures are those
of `i2i sample`, in 8 bits. Beside the generators stand the test set and ten memorised digits, which are sharp and even
and no more.

    entropy   of the classes that the classifier finds, in nats; ten even ones have 2.303
    least     the share of the rarest class
    score     exp of the mean divergence of a picture's classes from all pictures' (the Inception Score's formula, the
              mean of ten splits)
    frechet   distance to the training set in the classifier's features
    times     that, over the test set's own distance to the training set
    ssim      of two pictures of one class, single-scale, 200 pairs of each class: how alike they are
    asked     share that shows the class asked for, where a generator takes one

A generator that draws what a text says is given the first caption of each picture in the folder of `--captions`; of
what it draws, two classifiers (recipes classifier-digits-digit and classifier-digits-colour) tell digit and colour.

Below a row stands what must hold for its family (`--check`, else by the recipe's name in the file).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F

from i2i.data.captioned import lines_of
from i2i.data.labelled import Digits, Pictures
from i2i.data.stream import to_range
from i2i.errors import UserError
from i2i.latents import split
from i2i.metrics.classifier import looked_at
from i2i.metrics.distances import fid, inception_score
from i2i.metrics.diversity import labels, modes
from i2i.metrics.extractors import Features
from i2i.metrics.fidelity import ssim
from i2i.metrics.statistics import Statistics
from i2i.sampling import Sampler
from i2i.zoo import load_generator

COLUMNS = {"entropy": 3, "least": 3, "score": 2, "frechet": 2, "times": 1, "ssim": 3, "asked": 3}  # digits
PAIRS = 200  # of each class
BATCH = 500


class Bound(NamedTuple):
    """What a figure must not fall below, or not exceed."""

    figure: str
    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        return f">= {self.least:g}" if self.least is not None else f"<= {self.most:.4g}"


EVEN = (Bound("entropy", least=2.25), Bound("least", least=0.04))
NEAR, OF_AN_MLP = Bound("times", most=10), Bound("times", most=15)
ALIKE = 0.05  # by which the ssim may exceed the test set's
FAMILIES: dict[str, tuple[Bound, ...]] = {
    "gan": (OF_AN_MLP,),
    "cgan": (OF_AN_MLP, Bound("asked", least=0.95)),
    "cgan-dcgan": (NEAR, Bound("asked", least=0.98)),
    "dcgan": (*EVEN, NEAR, Bound("score", least=9.0)),
    "lsgan": (*EVEN, NEAR),
    "wgan": (*EVEN, OF_AN_MLP),
    "wgan-gp": (*EVEN, NEAR, Bound("score", least=8.5)),
    "progan": (*EVEN, NEAR),
    "infogan": (NEAR,),
}
"""What must hold of each beside the ssim; the longest name that a recipe's begins with counts."""
CODES = Bound("error", most=0.10)
MEDIAN = Bound("median error", most=0.15)
CAPTIONS = (Bound("digit", least=0.80), Bound("colour", least=0.80))
TRUE_CAPTIONS = (Bound("digit", least=0.98), Bound("colour", least=0.98))


class Judge(NamedTuple):
    """The classifier, and what it makes of the true digits.

    Attributes:
        apart: the test set's distance to the training set.
        ssim: of two test pictures of one class.
    """

    network: Any
    train: Statistics
    apart: float
    ssim: float


def drawn(network: Any, count: int, seed: int, texts: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
    """Pictures of a generator, [N,C,S,S] uint8, and the parts of the vectors that it was given; of as many `texts`,
    where it draws what they say."""
    sampler = Sampler(network, seed=seed, batch=BATCH)
    given = {}
    if texts:
        told = {text: sampler.told(text) for text in dict.fromkeys(texts)}
        given = {name: torch.stack([told[text][name] for text in texts]) for name in told[texts[0]]}
    vectors = sampler.draw(range(count), given=given)
    made = torch.from_numpy(sampler(vectors))
    return made[:, None] if made.ndim == 3 else made.movedim(3, 1), split(sampler.parts, vectors)


def padded(pictures: Tensor, size: int) -> Tensor:
    """Pictures [N,C,H,W] uint8 in the middle of black squares, as `i2i.data.labelled.Digits` sets them there."""
    height, width = pictures.shape[-2:]
    if max(height, width) > size:
        raise UserError(f"pictures of {width}x{height} pixels are larger than the classifier's {size}")
    top, left = (size - height) // 2, (size - width) // 2
    return F.pad(pictures, (left, size - width - left, top, size - height - top))


def alike(pictures: Tensor, classes: NDArray[np.int64], seed: int = 0) -> float:
    """The mean SSIM of two pictures of one class, over random pairs and over the classes that have two."""
    source, means = np.random.default_rng(seed), []
    for number in np.unique(classes):
        members = np.flatnonzero(classes == number)
        if len(members) < 2:
            continue
        first = source.integers(0, len(members), PAIRS)
        second = (first + source.integers(1, len(members), PAIRS)) % len(members)  # another than the first
        both = [(pictures[members[places], 0].numpy() for places in pair) for pair in zip(first, second, strict=True)]
        means.append(np.mean([ssim(one, other, rgb=True) for one, other in both]))
    return float(np.mean(means)) if means else float("nan")


def figures(judge: Judge, pictures: Tensor, asked: Tensor | None = None) -> dict[str, float]:
    """All figures of pictures [N,1,S,S] uint8; `asked`: the classes that were asked for, [N]."""
    some = looked_at(judge.network, pictures)
    assert some.features is not None
    found = labels(Features(some.features, some.logits))
    shares = modes(found, judge.network.classes)
    apart = fid(judge.train, some).value
    known = {
        "entropy": shares.evenness * float(np.log(shares.classes)),
        "least": min(shares.counts) / some.count,
        "score": inception_score(some)[0],
        "frechet": apart,
        "times": apart / judge.apart,
        "ssim": alike(pictures, found),
    }
    return known if asked is None else known | {"asked": float((asked.numpy() == found).mean())}


def recognised(network: Any, pictures: Tensor) -> NDArray[np.int64]:
    """What a classifier says that pictures [N,C,S,S] uint8 are, [N]; smaller ones are enlarged for it."""
    side, (low, high), found = network.card.size, network.card.value_range[0], []
    for pixels in pictures.split(BATCH):
        x = (to_range(pixels) + 1) / 2 * (high - low) + low
        fitting = x if x.shape[-1] == side else F.interpolate(x, (side, side), mode="bilinear")
        with torch.no_grad():
            found.append(network(fitting).argmax(1))
    return torch.cat(found).numpy()


def code_map(codes: NDArray[np.int64], digits: NDArray[np.int64]) -> NDArray[np.int64]:
    """The digit that each of ten codes means, [10]: the one-to-one map that is right most often."""
    table = np.zeros((10, 10), np.int64)
    np.add.at(table, (codes, digits), 1)
    return np.asarray(linear_sum_assignment(table, maximize=True)[1], np.int64)


def code_error(network: Any, train: Digits, test: Digits) -> float:
    """How often a code stands for another digit than the picture shows, as InfoGAN measures it (Chen et al. 2016,
    arXiv:1606.03657, Sec. 7.2): the map of the training set, the error on the test set."""
    meaning = code_map(recognised(network, train.x), train.y.numpy())
    return float((meaning[recognised(network, test.x)] != test.y.numpy()).mean())


def captioned(chosen: argparse.Namespace) -> Iterator[tuple[str, dict[str, float], dict[str, bool]]]:
    """Rows of the table for generators that draw what captions say."""
    judges: dict[str, Any] = {"digit": load_generator(chosen.digit_classifier)}
    judges["colour"] = load_generator(chosen.colour_classifier)
    truth = {what: Pictures(chosen.captions, labels=what, size=judges[what].card.size) for what in judges}
    for what, data in truth.items():
        if data.classes != judges[what].card.classes:
            raise UserError(f"the classifier of each {what} knows {judges[what].card.classes}, not {data.classes}")
    files = truth["digit"].files
    texts = [lines_of(file.with_suffix(".txt"))[0] for file in files]

    def right(what: str, pictures: Tensor) -> float:
        return float((recognised(judges[what], pictures) == truth[what].numbers).mean())

    shown = {what: torch.stack([data.picture(0, n) for n in range(len(files))]) for what, data in truth.items()}
    true = {what: right(what, pictures) for what, pictures in shown.items()}
    yield f"true pictures of {chosen.captions}", true, verdicts(true, TRUE_CAPTIONS)
    for model in chosen.model:
        pictures, _ = drawn(load_generator(model), len(texts), chosen.seed, texts)
        found = {what: right(what, pictures) for what in judges}
        yield model, found, verdicts(found, CAPTIONS)


def family(network: Any) -> str | None:
    """By the name of the recipe that the generator was trained from."""
    recipe = network.card.origin.recipe.split(" ")[0]
    fitting = [name for name in FAMILIES if f"{recipe}-".startswith(f"{name}-")]
    return max(fitting, key=len, default=None)


def bounds(name: str | None, judge: Judge) -> tuple[Bound, ...]:
    return () if name is None else (*FAMILIES[name], Bound("ssim", most=judge.ssim + ALIKE))


def verdicts(found: Mapping[str, float], wanted: Sequence[Bound]) -> dict[str, bool]:
    """For each bound, as a sentence: whether it holds. A figure that is missing does not."""
    said = {}
    for bound in wanted:
        value = found.get(bound.figure, float("nan"))
        said[f"{bound.figure} {value:.4g} {bound}"] = bound.holds(value)
    return said


def measured(chosen: argparse.Namespace) -> Iterator[tuple[str, dict[str, float], dict[str, bool]]]:
    """Rows of the table: name, figures, what holds."""
    if chosen.captions:
        yield from captioned(chosen)
    elif chosen.model:
        yield from single(chosen)
    yield from coded(chosen)


def single(chosen: argparse.Namespace) -> Iterator[tuple[str, dict[str, float], dict[str, bool]]]:
    """Rows of generators of single digits."""
    network: Any = load_generator(chosen.classifier).to(memory_format=torch.channels_last)
    size = network.card.size
    train, test = (Digits(chosen.data, split=part, size=size) for part in ("train", "test"))
    right = float((recognised(network, test.x) == test.y.numpy()).mean())
    yield chosen.classifier, {"accuracy": right}, verdicts({"accuracy": right}, [Bound("accuracy", least=0.99)])
    of_train = looked_at(network, train.x, "the training set")
    apart = fid(of_train, looked_at(network, test.x)).value
    judge = Judge(network, of_train, apart, alike(test.x, recognised(network, test.x)))
    yield "test set", figures(judge, test.x), {}
    ten = torch.stack([train.x[train.y == digit][0] for digit in range(10)])
    yield "ten memorised digits", figures(judge, ten.repeat(chosen.count // 10, 1, 1, 1)), {}
    for model in chosen.model:
        generator: Any = load_generator(model)
        if generator.card.kind != "latent" or generator.card.channels[1] != 1:
            raise UserError(f"{model} draws no gray pictures from random numbers; digits are measured of those")
        pictures, parts = drawn(generator, chosen.count, chosen.seed)
        found = figures(judge, padded(pictures, size), parts["class"].argmax(1) if "class" in parts else None)
        yield model, found, verdicts(found, bounds(chosen.check or family(generator), judge))


def coded(chosen: argparse.Namespace) -> Iterator[tuple[str, dict[str, float], dict[str, bool]]]:
    """Rows of recognisers of codes."""
    errors = []
    for model in chosen.recogniser:
        recogniser: Any = load_generator(model)
        sets = (Digits(chosen.data, split=part, size=recogniser.card.size) for part in ("train", "test"))
        errors.append(code_error(recogniser, *sets))
        yield model, {"error": errors[-1]}, verdicts({"error": errors[-1]}, [CODES])
    if len(errors) > 1:
        found = {"median error": float(np.median(errors))}
        yield f"{len(errors)} recognisers", found, verdicts(found, [MEDIAN])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", nargs="+", default=[], help="family/name or a generator file")
    parser.add_argument("-n", "--count", type=int, default=10_000, help="pictures of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", choices=FAMILIES, help="what must hold; by default what the file's recipe tells")
    parser.add_argument("--recogniser", nargs="+", default=[], help="classifiers of InfoGAN's codes")
    parser.add_argument("--classifier", default="classifier/mnist")
    parser.add_argument("--data", default="mnist/raw", help="folder of MNIST, also looked for under $I2I_DATA")
    parser.add_argument("--captions", help="folder of captioned digits: draw what their captions say")
    parser.add_argument("--digit-classifier", default="classifier/digit", help="of captioned digits")
    parser.add_argument("--colour-classifier", default="classifier/colour", help="of captioned digits")
    parser.add_argument("--json", action="store_true", help="one JSON object per row instead of a table")
    chosen = parser.parse_args()
    try:
        if not chosen.json:
            print(f"{'row':<44}" + "".join(f"{key:>9}" for key in COLUMNS))
        for row, found, holding in measured(chosen):
            if chosen.json:
                print(json.dumps({"row": row, **found, "holds": holding}), flush=True)
                continue
            shown = {key: value for key, value in found.items() if key in COLUMNS}
            cells = [f"{found[key]:9.{digits}f}" if key in shown else f"{'':9}" for key, digits in COLUMNS.items()]
            name = row if len(row) < 44 else "…" + row[-42:]
            print(f"{name:<44}{''.join(cells) if shown else ''}".rstrip(), flush=True)
            for sentence, holds in holding.items():
                print(f"    {'holds ' if holds else 'MISSES'} {sentence}", flush=True)
    except UserError as error:
        print(f"digits.py: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
