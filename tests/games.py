"""Tiny games and data for the tests of trainer and papers."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from i2i.aids import R1
from i2i.augmented import ADA, augmented
from i2i.data.captioned import Captions, Described, codes
from i2i.data.labelled import Alone, Labelled
from i2i.game import HalfLife, Spec
from i2i.layers import InstanceNorm
from i2i.losses import LOGISTIC
from i2i.metrics.classifier import Classification, PictureClassifier
from i2i.translation.cut import CUT, AntialiasedResnet, SinDiscriminator, SinGenerator, of_all
from i2i.translation.cyclegan import CycleGAN, ResnetGenerator
from i2i.translation.discogan import Curriculum, DiscoGAN, EncoderDecoder, MatchedDiscriminator
from i2i.translation.pix2pix import PatchDiscriminator, Pix2Pix, UnetGenerator
from i2i.unconditional import autoencoder, infogan
from i2i.unconditional.cgan import CGAN, ConditionalDCDiscriminator, ConditionalDCGenerator
from i2i.unconditional.dcgan import ADAM, DCDiscriminator, DCGenerator
from i2i.unconditional.gan import GAN
from i2i.unconditional.joint_embedding import CharCnnRnn, JointEmbedding, PictureEncoder
from i2i.unconditional.progan import GrowingCritic, GrowingGenerator, ProGAN
from i2i.unconditional.stackgan import StackGAN, StageOne, StageTwo, TextDiscriminator
from i2i.unconditional.wgan import WGAN, Cadence
from i2i.unconditional.wgan_gp import WGANGP

AVERAGE = HalfLife(images=8, ramp=None)


class Pair(NamedTuple):
    a: Tensor
    b: Tensor


class Noise:
    """Endless random pictures: position p is drawn from p alone."""

    fields = Pair

    def __init__(self, *, size: int = 16, dtype: torch.dtype = torch.float32, length: int = 8) -> None:
        self.size, self.dtype, self.length = size, dtype, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> Pair:
        generator = torch.Generator().manual_seed(position)
        a, b = torch.rand(2, 3, self.size, self.size, generator=generator, dtype=torch.float64).mul(2).sub(1)
        return Pair(a.to(self.dtype), b.to(self.dtype))


class Gray:
    """Endless random 8-bit gray pictures: position p is drawn from p alone."""

    fields = Alone

    def __init__(self, *, size: int = 16, length: int = 8) -> None:
        self.size, self.length = size, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> Alone:
        generator = torch.Generator().manual_seed(position)
        return Alone(torch.randint(0, 256, (1, self.size, self.size), generator=generator, dtype=torch.uint8))


class Shades:
    """Endless random 8-bit gray pictures of three classes, one lighter than the other."""

    fields = Labelled
    classes = ("dark", "grey", "light")

    def __init__(self, *, size: int = 16) -> None:
        self.size = size

    def __len__(self) -> int:
        return 9

    def __getitem__(self, position: int) -> Labelled:
        generator, number = torch.Generator().manual_seed(position), position % len(self.classes)
        x = torch.randint(0, 86, (1, self.size, self.size), generator=generator) + 85 * number
        return Labelled(x.to(torch.uint8), torch.tensor(number))


class Said:
    """Endless random colours with embeddings of 6 numbers, a picture's own and another's."""

    fields: Any = Captions

    def __len__(self) -> int:
        return 8

    def __getitem__(self, position: int) -> Any:
        generator = torch.Generator().manual_seed(position)
        x = torch.randint(0, 256, (3, 16, 16), generator=generator, dtype=torch.uint8)
        return self.fields(x, *self.texts(position, generator))

    def texts(self, position: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        text, other = torch.randn(2, 6, generator=generator)
        return text, other


class Told(Said):
    """The same pictures, each with a sentence about its class."""

    fields = Described

    def texts(self, position: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return codes(f"this is picture {position % 5}", 66), torch.tensor(position % 5)


def tiny_pix2pix(**more: Any) -> Pix2Pix:
    generator = Spec.to(UnetGenerator, width=4, depth=4, dropout=more.pop("dropout", 0.5))
    discriminator = Spec.to(PatchDiscriminator, channels=6, width=4, field=16)
    return Pix2Pix(generator, discriminator, average=AVERAGE, **more)


def tiny_cyclegan(**more: Any) -> CycleGAN:
    generator = Spec.to(ResnetGenerator, width=4, blocks=1, bias=False)
    norm = f"{InstanceNorm.__module__}:{InstanceNorm.__qualname__}"
    discriminator = Spec.to(PatchDiscriminator, channels=3, width=4, field=16, norm=norm)
    return CycleGAN(generator, discriminator, average=AVERAGE, **{"pool": 3, "identity": 5.0, **more})


def tiny_dcgan(**more: Any) -> GAN:
    networks = [Spec.to(network, channels=1, size=16, width=2, kernel=4) for network in (DCGenerator, DCDiscriminator)]
    return GAN(*networks, **{"optimizer": ADAM, "average": AVERAGE, **more})


def tiny_cgan(**more: Any) -> CGAN:
    kinds = ConditionalDCGenerator, ConditionalDCDiscriminator
    networks = [Spec.to(network, size=16, classes=3, width=2, kernel=4) for network in kinds]
    return CGAN(*networks, **{"classes": 3, "optimizer": ADAM, "average": AVERAGE, **more})


def tiny_classification(**more: Any) -> Classification:
    network = Spec.to(PictureClassifier, size=16, classes=3, width=4, features=8)
    return Classification(network, Shades.classes, **{"shift": 2, "average": AVERAGE, **more})


def tiny_augmented(**more: Any) -> GAN:
    networks = [Spec.to(network, channels=1, size=16, width=2, kernel=4) for network in (DCGenerator, DCDiscriminator)]
    by = Spec.to(ADA, every=1, length=40, p=0.5)
    critic = Spec.to(augmented, network=networks[1], by=by)
    return GAN(networks[0], critic, **{"optimizer": ADAM, "average": AVERAGE, **more})


DRAWS = Spec.to(DCGenerator, channels=1, size=16, latent=4, kind="normal", width=4, kernel=4)


def tiny_wgan(**more: Any) -> WGAN:
    critic = Spec.to(DCDiscriminator, channels=1, size=16, width=4, kernel=4)
    cadence = Cadence(few=1, many=2, first=1, every=3)
    return WGAN(DRAWS, critic, **{"cadence": cadence, "average": AVERAGE, **more})


def tiny_wgan_gp(**more: Any) -> WGANGP:
    critic = Spec.to(DCDiscriminator, channels=1, size=16, width=4, kernel=4, norm=None)
    return WGANGP(DRAWS, critic, **{"critic_steps": 2, "average": AVERAGE, **more})


GROWING: dict[str, Any] = {"channels": 1, "size": 16, "width": 2, "most": 4}


def tiny_progan(**more: Any) -> ProGAN:
    arguments = {"fade": 4, "steady": 4, "average": AVERAGE, **more}
    return ProGAN(Spec.to(GrowingGenerator, latent=6, **GROWING), Spec.to(GrowingCritic, **GROWING), **arguments)


def tiny_stackgan(**more: Any) -> StackGAN:
    one = Spec.to(StageOne, size=8, text=6, condition=3, noise=2, width=8)
    two = Spec.to(StageTwo, size=16, small=8, text=6, condition=3, width=2, blocks=1)
    judges = [Spec.to(TextDiscriminator, size=size, text=6, compressed=3, width=2, alone=size > 8) for size in (8, 16)]
    arguments = {"two": two, "discriminator_two": judges[1], "first": 12, "average": AVERAGE, **more}
    return StackGAN(arguments.pop("one", one), judges[0], **arguments)


TEXT = Spec.to(CharCnnRnn, size=6, length=66, filters=[4, 5, 6])


def tiny_joint_embedding(**more: Any) -> JointEmbedding:
    picture = Spec.to(PictureEncoder, size=6, pictures=16, width=2)
    return JointEmbedding(TEXT, picture, **{"average": AVERAGE, **more})


def tiny_infogan(discriminator: Spec | None = None, **more: Any) -> infogan.InfoGAN:
    generator = Spec.to(infogan.Generator, size=16, noise=5, width=2, hidden=6)
    judge = discriminator or Spec.to(infogan.Discriminator, size=16, width=2, hidden=6, reading=4)
    return infogan.InfoGAN(generator, judge, **{"average": AVERAGE, **more})


def tiny_autoencoder(**more: Any) -> autoencoder.Autoencoder:
    code = more.get("code", autoencoder.Gaussian())
    encoder = Spec.to(autoencoder.Encoder, size=16, numbers=3 * len(code.says), hidden=5)
    decoder = Spec.to(autoencoder.Decoder, size=16, code=3, hidden=5)
    return autoencoder.Autoencoder(encoder, decoder, **{"average": AVERAGE, **more})


def tiny_discogan(**more: Any) -> DiscoGAN:
    share = Curriculum(first=0.25, then=0.75, images=8)
    networks = Spec.to(EncoderDecoder, width=2, depth=2), Spec.to(MatchedDiscriminator, width=2, depth=3)
    return DiscoGAN(*networks, **{"share": share, "average": AVERAGE, **more})


def tiny_cut(**more: Any) -> CUT:
    generator = Spec.to(AntialiasedResnet, width=2, blocks=1, bias=False)
    norm = f"{InstanceNorm.__module__}:{InstanceNorm.__qualname__}"
    discriminator = Spec.to(PatchDiscriminator, channels=3, width=4, field=16, norm=norm)
    few = {"layers": (0, 4, 8, 12), "patches": 5, "features": 6}
    return CUT(generator, discriminator, **{**few, "average": AVERAGE, **more})


def tiny_sincut(**more: Any) -> CUT:
    networks = Spec.to(SinGenerator, width=2, blocks=2), Spec.to(SinDiscriminator, width=2, size=16)
    single = {"layers": (0, 2, 4), "patches": 1, "features": 6, "negatives": of_all, "pixel": 1.0}
    return CUT(*networks, **{**single, "rule": LOGISTIC, "r1": R1(1.0, every=1), "average": AVERAGE, **more})
