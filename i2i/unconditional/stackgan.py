"""StackGAN: Text to Photo-Realistic Image Synthesis with Stacked Generative Adversarial Networks (Zhang et al. 2017,
arXiv:1612.03242).

A first generator draws a small picture of noise z and of a text's embedding phi, a second one reads phi again and draws
the small picture anew, four times as large. What each reads is not phi itself but, by conditioning augmentation
(Sec. 3.2), a draw from N(mu(phi), sigma(phi)), for which its loss has the divergence

    D_KL(N(mu(phi), sigma(phi)) || N(0, 1))                                                              (Eq. 2)

beside the adversarial one (Eq. 3 to 6). The discriminators see pairs of a picture and a text, and must refuse true
pictures with texts of others ("matching-aware", Sec. 3.3) as they refuse drawn ones:

    L_D = real + 1/2 (fake + mismatched).

Stage I is trained first and stays as it is while stage II is trained, which uses it without gradients, by its stored
statistics. Both pairs of players have networks and an augmentation of their own; stage II has no noise but its
augmentation's.

As in the authors' code for PyTorch: the layers of the generators; a rectifier behind the augmentation's linear layer
(`slope` 0; their first code has 0.2, the paper names none); 2.0 times the mean of the divergence over its numbers,
where the paper has 1 times Eq. 2; and where a discriminator also scores pictures alone (theirs of stage II), these
scores join as L_D = 1/2 (real + real alone) + 1/3 (fake + mismatched + fake alone). From the paper: the discriminators
compress phi by a linear layer of their own.

Deviations:
    the discriminator judges the pictures of the same step, after the generator has moved;
    the mismatched text is that of any other picture (of another class where the data knows classes), drawn with the
    sample, not of the neighbour in the batch: no lane depends on another's; the recipe for digits takes near ones;
    norms have one scale for a map of 4x4, not one for each of its numbers; the networks take pictures of other sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.aids import R1, Watch
from i2i.data.captioned import Captions
from i2i.errors import UserError
from i2i.game import Card, Clock, Export, Game, HalfLife, Loss, Made, Part, Player, Spec, Stage
from i2i.host import seeded
from i2i.latents import draw, latent_size, split
from i2i.layers import Residual, StoredBatchNorm, init_normal, modes
from i2i.losses import LOGISTIC, Adversarial, wide
from i2i.typed import Range
from i2i.unconditional.dcgan import down, project, widths
from i2i.unconditional.joint_embedding import CharCnnRnn, read

__all__ = ["ADAM", "StackGAN", "StackedGenerator", "StageOne", "StageTwo", "TextDiscriminator"]

ADAM = Spec("torch.optim:Adam", {"lr": 2e-4, "betas": [0.5, 0.999]})  # Sec. 3.5

SMALLEST = 4  # pixels of the first maps of stage I, and of the discriminators' last
HALVINGS = 2  # of the small picture in stage II
ROWS = 4  # in each half of a contact sheet


class Normal(NamedTuple):
    """Independent normal numbers: their means and the logarithms of their variances, [N,C] each."""

    mean: Tensor
    logarithm: Tensor

    def at(self, noise: Tensor) -> Tensor:
        """The draws that standard normal ones [N,C] become."""
        return self.mean + (self.logarithm / 2).exp() * noise

    def divergence(self) -> Tensor:
        """From standard normal numbers (Eq. 2), the mean over all: a scalar."""
        mean, logarithm = wide(self.mean), wide(self.logarithm)
        return (mean.square() + logarithm.exp() - 1 - logarithm).mean() / 2


class Augmentation(nn.Module):
    """Conditioning augmentation (Sec. 3.2): an embedding [N,text] => what to draw the condition from.

    Args:
        text: numbers of an embedding.
        size: of the condition.
        slope: of the rectifier behind the linear layer where it is negative; 1 has none.
        gain: what an embedding is multiplied by first. The scale of a joint embedding means nothing, but the first
            weights expect numbers with a spread of about 1.
    """

    def __init__(self, text: int, size: int, slope: float, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.linear, self.rectifier = nn.Linear(text, 2 * size), nn.LeakyReLU(slope)

    def forward(self, text: Tensor) -> Normal:
        return Normal(*self.rectifier(self.linear(self.gain * text)).chunk(2, 1))


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution of 3 and its norm."""
    return [nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), StoredBatchNorm(outputs)]


def enlarge(inputs: int, outputs: int) -> nn.Sequential:
    """The up-sampling block of Sec. 3.5: the nearest neighbour, a convolution, its norm, a rectifier."""
    return nn.Sequential(nn.Upsample(scale_factor=2), *convolution(inputs, outputs), nn.ReLU())


def paint(width: int) -> nn.Sequential:
    """The last layer: colours in [-1,1]."""
    return nn.Sequential(nn.Conv2d(width, 3, 3, 1, 1, bias=False), nn.Tanh())


class StageOne(nn.Module):
    """The generator of stage I (Sec. 3.3).

    Args:
        size: height and width of what it draws: 4 doubled several times.
        text: numbers of an embedding.
        condition: numbers of the condition (paper: 128).
        noise: numbers of z.
        width: filters of the first maps, of 4x4; each doubling of the maps halves them.
        slope, gain: see `Augmentation`.
    """

    def __init__(
        self, size: int = 64, *, text: int = 1024, condition: int = 128, noise: int = 100, width: int = 1024,
        slope: float = 0.0, gain: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        steps = len(widths(size, 1, SMALLEST))
        self.size, self.text = size, text
        self.parts = (Part("augmentation", condition), Part("z", noise))
        self.augmentation = Augmentation(text, condition, slope, gain)
        filters = [max(1, width >> step) for step in range(steps + 1)]
        self.layers = nn.Sequential(
            project(condition + noise, width, SMALLEST),
            *(enlarge(given, made) for given, made in pairwise(filters)),
            paint(filters[-1]),
        )
        init_normal(self)

    def forward(self, text: Tensor, augmentation: Tensor, z: Tensor) -> Tensor:
        """text: [N,text]; augmentation: [N,condition] and z: [N,noise] from N(0,1) => [N,3,size,size] in [-1,1]."""
        return self.layers(torch.cat([self.augmentation(text).at(augmentation), z], 1))


class StageTwo(nn.Module):
    """The generator of stage II (Sec. 3.4): the small picture is halved twice, its maps joined with the condition, and
    enlarged by way of residual blocks.

    Args:
        size: height and width of what it draws.
        small: of what stage I has drawn.
        text, condition, slope, gain: see `StageOne`.
        width: filters at the small picture's size; at a quarter of it there are four times as many.
        blocks: residual blocks (paper: 4 for 256 pixels, 2 for 128).
    """

    def __init__(
        self, size: int = 256, *, small: int = 64, text: int = 1024, condition: int = 128, width: int = 128,
        blocks: int = 4, slope: float = 0.0, gain: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        steps, most = len(widths(size, 1, small >> HALVINGS)), width << HALVINGS
        self.size, self.small, self.text = size, small, text
        self.parts = (Part("augmentation_two", condition),)
        self.augmentation = Augmentation(text, condition, slope, gain)
        self.read = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.ReLU())
        for given in (width, 2 * width):
            self.read += nn.Sequential(
                nn.Conv2d(given, 2 * given, 4, 2, 1, bias=False), StoredBatchNorm(2 * given), nn.ReLU()
            )
        self.join = nn.Sequential(*convolution(most + condition, most), nn.ReLU())
        inner: list[nn.Module] = []
        for _ in range(blocks):
            inner += [Residual(*convolution(most, most), nn.ReLU(), *convolution(most, most)), nn.ReLU()]
        filters = [max(1, most >> step) for step in range(steps + 1)]
        enlarged = [enlarge(given, made) for given, made in pairwise(filters)]
        self.redraw = nn.Sequential(*inner, *enlarged, paint(filters[-1]))
        init_normal(self)

    def forward(self, small: Tensor, text: Tensor, augmentation: Tensor) -> Tensor:
        """small: [N,3,small,small] in [-1,1]; text: [N,text]; augmentation: [N,condition] from N(0,1) =>
        [N,3,size,size] in [-1,1]."""
        return self.redraw(self.join(beside(self.read(small), self.augmentation(text).at(augmentation))))


def beside(maps: Tensor, vector: Tensor) -> Tensor:
    """Maps [N,C,H,W], and after them a vector [N,V] at each of their places => [N,C+V,H,W]."""
    return torch.cat([maps, vector[:, :, None, None].expand(-1, -1, *maps.shape[2:])], 1)


class StackedGenerator(nn.Module):
    """All that draws a picture of a text, in one file: the text encoder, stage I and stage II.

    Args:
        one: stage I.
        two: stage II.
        encoder: of texts; None where embeddings were made by another program.
    """

    def __init__(self, one: nn.Module, two: nn.Module, *, encoder: nn.Module | None = None) -> None:
        super().__init__()
        assert isinstance(one, StageOne) and isinstance(two, StageTwo)
        assert encoder is None or isinstance(encoder, CharCnnRnn)
        self.one, self.two, self.encoder = one, two, encoder
        self.longest = None if encoder is None else encoder.length
        self.parts = (Part("text", one.text, "text"), *one.parts, *two.parts)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Sentences => embeddings [N,T]. Raises UserError for an empty one, and where there is no encoder."""
        if self.encoder is None:
            raise UserError(
                "this generator reads embeddings of texts made elsewhere; give whole vectors with --latents"
            )
        return self.encoder.encode(texts)

    def sketch(self, latent: Tensor) -> Tensor:
        """latent: [N,Z] => what stage I draws, [N,3,small,small] in [-1,1]."""
        parts = split(self.parts, latent)
        return self.one(parts["text"], parts["augmentation"], parts["z"])

    def forward(self, latent: Tensor) -> Tensor:
        """latent: [N,Z] => [N,3,size,size] in [-1,1]."""
        parts = split(self.parts, latent)
        return self.two(self.sketch(latent), parts["text"], parts["augmentation_two"])

    def card(self) -> Card:
        """What must be known to run it."""
        known, channels = modes(self), (latent_size(self.parts), 3)
        return Card("latent", channels=channels, size=self.two.size, latent=self.parts, modes=known, mode=known[0])


class TextDiscriminator(nn.Module):
    """The discriminator of either stage (Sec. 3.3 and 3.4): strided convolutions down to 4x4; above eight times `width`
    the filters are halved again, there; then the compressed embedding joins.

    Args:
        size: height and width of the pictures it judges: 4 doubled several times.
        text: numbers of an embedding.
        compressed: what they are compressed to.
        width: filters of the first convolution; they double as the maps halve.
        alone: whether it also scores pictures without texts.
        gain: see `Augmentation`.
    """

    def __init__(
        self, size: int = 64, *, text: int = 1024, compressed: int = 128, width: int = 64, alone: bool = False,
        gain: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.text, self.scores_alone, self.gain = size, text, alone, gain
        filters = widths(size, width, SMALLEST)[::-1]
        layers = [down(3, width, 4, norm=None)]
        layers += [down(given, made, 4, norm=StoredBatchNorm) for given, made in pairwise(filters)]
        most = filters[-1]
        while most > 8 * width:
            layers.append(nn.Sequential(*convolution(most, most // 2), nn.LeakyReLU(0.2)))
            most //= 2
        self.layers = nn.Sequential(*layers)
        self.compress = nn.Sequential(nn.Linear(text, compressed), nn.LeakyReLU(0.2))
        self.join = nn.Sequential(*convolution(most + compressed, most), nn.LeakyReLU(0.2))
        self.last = nn.Conv2d(most, 1, SMALLEST)
        if alone:
            self.last_alone = nn.Conv2d(most, 1, SMALLEST)
        init_normal(self)

    def features(self, x: Tensor) -> Tensor:
        """x: [N,3,size,size] in [-1,1] => maps of 4x4, which the scores are made of."""
        return self.layers(x)

    def matching(self, features: Tensor, text: Tensor) -> Tensor:
        """How true a picture looks that this text is said of: `features` and [N,text] => [N,1] raw scores."""
        return self.last(self.join(beside(features, self.compress(self.gain * text)))).flatten(1)

    def alone(self, features: Tensor) -> list[Tensor]:
        """How true a picture looks whatever it shows: a list of raw scores [N,1], or an empty one."""
        return [self.last_alone(features).flatten(1)] if self.scores_alone else []

    def forward(self, x: Tensor, text: Tensor) -> Tensor:
        """x: [N,3,size,size] in [-1,1], text: [N,text] => [N,1] raw scores."""
        return self.matching(self.features(x), text)


@final
class StackGAN(Game):
    """Two stages: "one" trains the small pictures' players, "two" the large ones', with stage I as it is.

    Args:
        one, discriminator_one: Specs of stage I's networks.
        two, discriminator_two: Specs of stage II's networks.
        first: length of stage I in images.
        encoder: name or file of a text encoder that `JointEmbedding` has trained; None takes embeddings from the data.
        divergence: weight of the mean of Eq. 2 over its numbers (authors' code: 2.0).
        rule: the adversarial rule.
        optimizer: Spec of an optimizer, its learning rate the peak.
        discriminator_optimizer: the same for the discriminators; None: as the generators'.
        average: half-life of the averaged generators in images; None keeps the last weights.
        r1: penalty on the discriminators' slope.
    """

    Batch = Captions

    def __init__(
        self,
        one: Spec,
        discriminator_one: Spec,
        *,
        two: Spec,
        discriminator_two: Spec,
        first: Annotated[int, Range(least=1)],
        encoder: str | None = None,
        divergence: float = 2.0,
        rule: Adversarial = LOGISTIC,
        optimizer: Spec = ADAM,
        discriminator_optimizer: Spec | None = None,
        average: HalfLife | None = None,
        r1: R1 = R1(),
    ) -> None:
        self.first, self.divergence, self.rule, self.r1, self.watch = first, divergence, rule, r1, Watch()
        self.one: StageOne = one.build()
        self.two: StageTwo = two.build()
        self.on_one: TextDiscriminator = discriminator_one.build()
        self.on_two: TextDiscriminator = discriminator_two.build()
        self.encoder = learned(encoder) if encoder else None
        parts = {"encoder": self.encoder.spec} if self.encoder else {}
        self.spec = Spec.to(StackedGenerator, one=one, two=two, **parts)
        self.generator = StackedGenerator(self.one, self.two, encoder=self.encoder)
        self.stacked = False
        self.fitting()
        judge = discriminator_optimizer or optimizer
        self.generator_one = Player("generator_one", {"one": self.one}, optimizer, average)
        self.generator_two = Player("generator_two", {"two": self.two}, optimizer, average)
        self.discriminator_one = Player("discriminator_one", {"on_one": self.on_one}, judge)
        self.discriminator_two = Player("discriminator_two", {"on_two": self.on_two}, judge)

    def fitting(self) -> None:
        """Raises ValueError where networks do not go together."""
        texts = {network.text for network in (self.one, self.two, self.on_one, self.on_two)}
        texts |= {self.encoder.size} if self.encoder else set()
        if len(texts) > 1:
            raise ValueError(
                f"texts have embeddings of {' and '.join(map(str, sorted(texts)))} numbers; make 'text' one"
            )
        if (self.on_one.size, self.two.small, self.on_two.size) != (self.one.size, self.one.size, self.two.size):
            raise ValueError(
                f"stage I draws {self.one.size} and stage II {self.two.size} pixels: the discriminators' 'size' and "
                "stage II's 'small' must be the same"
            )

    def stages(self) -> list[Stage]:
        one, two = (self.generator_one, self.discriminator_one), (self.generator_two, self.discriminator_two)
        return [
            Stage("one", one, self.turns_one, images=self.first),
            Stage("two", two, self.turns_two, enter=self.freeze),
        ]

    def freeze(self) -> None:
        """Stage I stays as it is from now on, and is used as it will be when it is run."""
        self.one.eval().requires_grad_(False)
        self.stacked = True

    def turns_one(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator_one, self.generator_one_loss
        critic = self.r1(clock, self.discriminator_one_loss, lambda x, batch: self.on_one(x, self.said(batch.text)))
        yield self.discriminator_one, critic

    def turns_two(self, clock: Clock) -> Iterator[tuple[Player, Loss]]:
        yield self.generator_two, self.generator_two_loss
        critic = self.r1(clock, self.discriminator_two_loss, lambda x, batch: self.on_two(x, self.said(batch.text)))
        yield self.discriminator_two, critic

    @torch.no_grad()
    def said(self, text: Tensor) -> Tensor:
        """Embeddings [N,T] of the data's texts."""
        if self.encoder is not None:
            return self.encoder(read(text, self.encoder))
        if not text.is_floating_point():
            raise UserError(
                "the data yields characters; name a text encoder as game.encoder, or set data.text=embeddings"
            )
        if text.shape[1] != self.one.text:
            raise UserError(
                f"the data's embeddings have {text.shape[1]} numbers, but the networks read {self.one.text}; "
                "set 'text' of the four networks alike"
            )
        return text

    def seen(self, x: Tensor, size: int) -> Tensor:
        """True pictures as large as a stage draws them: [N,3,size,size]."""
        if x.shape[1:] != (3, self.two.size, self.two.size):
            found = "x".join(map(str, x.shape[1:]))
            wanted = f"3x{self.two.size}x{self.two.size}"
            raise UserError(
                f"stage II draws {wanted}, but the data's pictures are {found}; set data.size={self.two.size}"
            )
        return F.adaptive_avg_pool2d(x, size)

    def generator_one_loss(self, batch: Captions, made: Made) -> dict[str, Tensor]:
        made.text = self.said(batch.text)
        latent = draw(self.generator.parts, len(batch.x), like=batch.x, given={"text": made.text})
        fake = self.generator.sketch(latent)
        made.fake = fake.detach()
        return self.fooling(self.on_one, fake, made.text, self.one.augmentation(made.text))

    def generator_two_loss(self, batch: Captions, made: Made) -> dict[str, Tensor]:
        made.text = self.said(batch.text)
        latent = draw(self.generator.parts, len(batch.x), like=batch.x, given={"text": made.text})
        with torch.no_grad():
            small = self.generator.sketch(latent)
        fake = self.two(small, made.text, split(self.generator.parts, latent)["augmentation_two"])
        made.fake = fake.detach()
        return self.fooling(self.on_two, fake, made.text, self.two.augmentation(made.text))

    def fooling(self, judge: TextDiscriminator, fake: Tensor, text: Tensor, condition: Normal) -> dict[str, Tensor]:
        """Eq. 4 and 6."""
        features = judge.features(fake)
        scores = [judge.matching(features, text), *judge.alone(features)]
        return {
            "adversarial": torch.stack([self.rule.fool(score) for score in scores]).sum(),
            "divergence": self.divergence * condition.divergence(),
        }

    def discriminator_one_loss(self, batch: Captions, made: Made) -> dict[str, Tensor]:
        return self.judging(self.on_one, self.seen(batch.x, self.one.size), batch, made)

    def discriminator_two_loss(self, batch: Captions, made: Made) -> dict[str, Tensor]:
        return self.judging(self.on_two, self.seen(batch.x, self.two.size), batch, made)

    def judging(self, judge: TextDiscriminator, x: Tensor, batch: Captions, made: Made) -> dict[str, Tensor]:
        """Eq. 3 and 5, with mismatched pairs."""
        real, fake = judge.features(x), judge.features(made.fake.to(x.dtype))
        matching, drawn = judge.matching(real, made.text), judge.matching(fake, made.text)
        mismatched = judge.matching(real, self.said(batch.other))
        self.watch.note(made, x=x, fake=made.fake, real_score=matching, fake_score=drawn)
        trues = [self.rule.real(score) for score in (matching, *judge.alone(real))]
        falses = [self.rule.fake(score) for score in (drawn, mismatched, *judge.alone(fake))]
        named = zip(("fake", "mismatched", "fake_alone"), falses, strict=False)
        return {
            **{name: term / len(trues) for name, term in zip(("real", "real_alone"), trues, strict=False)},
            **{name: term / len(falses) for name, term in named},
        }

    def observe(self, means: Mapping[str, float]) -> Sequence[str]:
        return self.watch.observe(means)

    def frozen(self) -> list[nn.Module]:
        return [self.encoder] if self.encoder else []

    def exports(self) -> dict[str, Export]:
        return {"generator": Export(self.generator, self.spec, self.generator.card())}

    def preview(self, batch: Captions, networks: Mapping[str, nn.Module]) -> list[Tensor]:
        """A column for each text, its own and the others' of the batch: what stage I draws, then below it stage II."""
        generator: Any = networks["generator"]
        columns = []
        for text in self.said(torch.cat([batch.text, batch.other])):
            with seeded(0):
                latent = draw(generator.parts, ROWS, like=text, given={"text": text.expand(ROWS, -1)})
            sketches = F.interpolate(generator.sketch(latent), self.two.size)
            columns.append(torch.cat([sketches, generator(latent)]) if self.stacked else sketches)
        return columns


def learned(model: str) -> Any:
    """A text encoder as it was trained. Raises UserError for another network."""
    from i2i.zoo import load_generator

    network = load_generator(model)
    if not isinstance(network, CharCnnRnn):
        raise UserError(f"{model} holds no text encoder; train one (recipe captions-digits), and name its file")
    return network
