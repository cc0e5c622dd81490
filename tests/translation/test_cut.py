"""CUT: what its blurs do to pictures, what its losses compare, that its heads are there from the start, and patches."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from games import Noise, tiny_cut, tiny_sincut
from torch import Tensor, nn
from torch.nn import functional as F

from i2i.bands import Plan
from i2i.checkpoint import read_header, save_generator
from i2i.data.patches import Patches
from i2i.errors import UserError
from i2i.game import Clock, Made
from i2i.images import Picture, write
from i2i.layers import BlurDown, BlurUp, init_normal
from i2i.recipe import build, load, names
from i2i.spec import Spec
from i2i.testing import assert_sound
from i2i.translation.cut import (
    LAYERS,
    AntialiasedPatchDiscriminator,
    AntialiasedResnet,
    PatchHeads,
    SinDiscriminator,
    SinGenerator,
    StyleBlock,
    StyleUp,
    contrast,
    encoded,
    of_all,
    of_each,
    widths,
)
from i2i.translation.cyclegan import ResnetBlock
from i2i.zoo import load_generator


def halved(x: Tensor) -> Tensor:
    return BlurDown(x.shape[1])(F.pad(x, (1, 1, 1, 1), "reflect"))


def doubled(x: Tensor) -> Tensor:
    return BlurUp(x.shape[1])(F.pad(x, (1, 1, 1, 1), "replicate"))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 7), (2, 3)])
def test_blurs_halve_upwards_and_double_exactly(height: int, width: int) -> None:
    x = torch.full((2, 3, height, width), 0.7)
    small, large = halved(x), doubled(x)
    assert small.shape[2:] == ((height + 1) // 2, (width + 1) // 2)
    assert large.shape[2:] == (2 * height, 2 * width)
    for made in (small, large):
        assert torch.allclose(made, torch.tensor(0.7), rtol=0, atol=1e-6)  # an even picture stays so, rims and all


def test_blurs_keep_channels_apart_and_are_binomial() -> None:
    point = torch.zeros(1, 2, 8, 8)
    point[0, 1, 4, 4] = 1
    small, large = halved(point), doubled(point)
    assert not small[0, 0].any() and not large[0, 0].any()
    assert small[0, 1, 2, 2] == 4 / 16
    assert torch.equal(large[0, 1, 8, 7:11], torch.tensor([3.0, 9, 9, 3]) / 16)
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert halved(stripes).abs().max() < 1e-6  # the finest stripes, which plain striding would turn into an even colour


@pytest.mark.parametrize("down", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_how_far_it_sees(down: bool, up: bool) -> None:
    network = AntialiasedResnet(width=1, blocks=1, norm=nn.Identity, bias=False, blur_down=down, blur_up=up).double()
    network.layers[-1] = nn.Identity()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.1, 1)
    far = 0
    for row in range(60, 64):
        x = torch.ones(1, 3, 128, 128, dtype=torch.double, requires_grad=True)
        network(x)[0, 0, row, 64].backward()
        assert x.grad is not None
        seen = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        far = max(far, row - int(seen[0]), int(seen[-1]) - row)
    assert network.card().halo == far


def test_it_is_cyclegans_size_and_any_size_passes() -> None:
    network = AntialiasedResnet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_378_179  # blurs have no parameters
    small = AntialiasedResnet(1, 2, width=2, blocks=1).eval()
    assert small(torch.zeros(1, 1, 40, 36)).shape == (1, 2, 40, 36)
    card = small.card()
    assert (card.multiple, card.channels, card.modes) == (4, (1, 2), ("deterministic",))


def test_first_weights_leave_the_filters_alone() -> None:
    network = init_normal(AntialiasedResnet(width=2, blocks=1), std=5.0)
    blur = next(module for module in network.modules() if isinstance(module, BlurDown))
    assert torch.equal(blur.weight[0, 0], torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16)


def test_its_file_holds_no_filters_and_gives_them_back(tmp_path: Path) -> None:
    spec = Spec.to(AntialiasedResnet, width=2, blocks=1)
    network: Any = spec.build().eval()
    path = tmp_path / "x.safetensors"
    save_generator(path, network, spec, network.card())
    assert not [name for name in read_header(path).shapes if name.startswith("layers.8.")]
    loaded, x = load_generator(path), torch.rand(1, 3, 32, 32)
    assert torch.equal(loaded(x), network(x))
    assert {value.dtype for value in loaded.to(torch.bfloat16).buffers()} == {torch.bfloat16}


def test_it_runs_in_bands() -> None:
    network = init_normal(AntialiasedResnet(width=4, blocks=2), std=0.1).eval()
    x, made = torch.rand(1, 3, 100, 60) * 2 - 1, torch.empty(1, 3, 100, 60)
    plan = Plan.of(network)
    assert plan is not None

    def write(rows: tuple[int, int], band: Tensor) -> None:
        made[:, :, rows[0] : rows[1]] = band

    plan.run(lambda rows: x[:, :, rows[0] : rows[1]], x.shape[1:], write, rows=16)
    with torch.no_grad():
        assert (made - network(x)).abs().max() < 1e-4


# --- the games


SEES_ALL = {"generator/content", "generator/identity"}  # where patches of all pictures are each other's negatives


def batch_of(size: int, positions: int = 2) -> Any:
    data = Noise(size=size)
    return data.fields(*(torch.stack(field) for field in zip(*(data[p] for p in range(positions)), strict=True)))


def test_cut_is_sound() -> None:
    assert_sound(tiny_cut, Noise(size=32), lane=2)


def test_fastcut_is_sound() -> None:
    assert_sound(lambda: tiny_cut(content=10.0, identity=0.0, flip=0.5), Noise(size=32), lane=2)


def test_sincut_is_sound_and_says_that_patches_of_a_lane_are_each_others_negatives() -> None:
    assert_sound(tiny_sincut, Noise(size=16), lane=2, sees_all=SEES_ALL)


def test_layers_are_numbered_as_in_the_authors_code() -> None:
    """There a blur and its padding are one layer, and the five are pixels, both convolutions that are blurred after,
    and the first and fifth residual block."""
    network = AntialiasedResnet(width=2, blocks=6)
    chosen = [network.layers[network.stops[number]] for number in LAYERS]
    assert [type(layer) for layer in chosen[:1] + chosen[3:]] == [nn.ReflectionPad2d, ResnetBlock, ResnetBlock]
    assert [layer.weight.shape[:2] for layer in chosen[1:3]] == [(4, 2), (8, 4)]  # type: ignore[union-attr]
    blocks = [layer for layer in network.layers if isinstance(layer, ResnetBlock)]
    assert chosen[3] is blocks[0]
    assert chosen[4] is blocks[4]
    strided = AntialiasedResnet(width=2, blocks=6, blur_down=False, blur_up=False)
    assert strided.stops == tuple(range(len(strided.layers)))
    small = load("cut-aerial2map-small").game.kwargs
    assert (small["generator"].kwargs["blur_down"], small["layers"]) == (False, (0, 4, 7, 10, 14))
    same = [strided.layers[number] for number in small["layers"]]
    assert [type(layer) for layer in same] == [nn.ReflectionPad2d, nn.Conv2d, nn.Conv2d, ResnetBlock, ResnetBlock]
    blocks = [layer for layer in strided.layers if isinstance(layer, ResnetBlock)]
    assert [same[3], same[4]] == [blocks[0], blocks[4]]


def test_features_are_those_on_the_way_to_the_picture() -> None:
    torch.manual_seed(0)
    network, x = AntialiasedResnet(width=2, blocks=5), torch.rand(2, 3, 32, 32)
    found, drawn = encoded(network, x, LAYERS, through=True)
    assert torch.equal(drawn, network(x))
    assert [tuple(f.shape[1:]) for f in found] == [(3, 38, 38), (4, 32, 32), (8, 16, 16), (8, 8, 8), (8, 8, 8)]
    run: list[nn.Module] = []
    for layer in network.layers:
        layer.register_forward_hook(lambda module, given, made: run.append(module))
    again, last = encoded(network, x, LAYERS)
    assert all(torch.equal(f, g) for f, g in zip(found, again, strict=True))
    assert torch.equal(last, again[-1])
    assert run[-1] is network.layers[network.stops[16]]  # the decoder is not run for nothing


def test_heads_are_built_with_the_game_and_not_at_its_first_batch() -> None:
    """The authors build them at the first batch, and an optimizer that was made before would never move them."""
    game = tiny_cut()
    known = {id(parameter) for parameter in game.generator.parameters()}
    assert {id(parameter) for parameter in game.heads.parameters()} < known
    before = len(known)
    game.generator_loss(batch_of(32), Made())
    assert len(list(game.generator.parameters())) == before
    assert widths(AntialiasedResnet(), LAYERS) == [3, 128, 256, 256, 256]
    with pytest.raises(ValueError, match="layers 0 to"):
        widths(AntialiasedResnet(blocks=1), (0, 99))


def test_heads_have_the_authors_size_and_first_weights() -> None:
    heads = PatchHeads(widths(AntialiasedResnet(), LAYERS))
    expected = sum(width * 256 + 256 + 256 * 256 + 256 for width in (3, 128, 256, 256, 256))
    assert sum(parameter.numel() for parameter in heads.parameters()) == expected
    torch.manual_seed(0)
    game = tiny_cut(features=256)
    first = game.heads.heads[3][0]  # type: ignore[index]
    assert first.weight.std().item() == pytest.approx(0.02 * (2 / (8 + 256)) ** 0.5, rel=0.1)  # Xavier, gain 0.02
    assert not first.bias.any()


def test_heads_pick_places_of_each_picture_and_give_unit_vectors() -> None:
    torch.manual_seed(0)
    heads, feature = PatchHeads([3], features=6), torch.rand(2, 3, 4, 5)
    (made,) = heads([feature], [torch.tensor([[0, 7], [19, 3]])])
    assert made.shape == (2, 2, 6)
    assert torch.allclose(made.norm(dim=2), torch.ones(2, 2))
    (same,) = heads([feature[:1, :, 1:2, 2:3]], [torch.tensor([[0]])])
    assert torch.allclose(made[0, 1], same[0, 0], atol=1e-6)  # place 7 is row 1, column 2


def test_places_of_a_picture_are_all_different_and_as_many_as_there_are() -> None:
    torch.manual_seed(0)
    game = tiny_cut(patches=30)
    places = game.places(torch.empty(3, 1, 8, 8))
    assert places.shape == (3, 30)
    assert all(len(set(row)) == 30 for row in places.tolist())
    assert len(set(map(tuple, places.tolist()))) == 3
    assert game.places(torch.empty(3, 1, 2, 2)).shape == (3, 4)


def test_the_contrast_is_the_authors() -> None:
    """Theirs has the positive in front and the diagonal at exp(-10 / t), which is nothing."""
    torch.manual_seed(0)
    queries, keys = (F.normalize(torch.randn(2, 7, 5, dtype=torch.double), dim=2) for _ in range(2))
    losses = []
    for query, key in zip(queries, keys, strict=True):
        for place in range(7):
            others = [query[place] @ key[other] for other in range(7) if other != place]
            scores = torch.stack([query[place] @ key[place], *others, torch.tensor(-10.0)]) / 0.07
            losses.append(F.cross_entropy(scores[None], torch.tensor([0])))
    assert torch.allclose(contrast(queries, keys, 0.07), torch.stack(losses).mean())
    assert contrast(keys, keys, 0.07) < contrast(queries, keys, 0.07)


def test_negatives_are_of_the_picture_or_of_the_lane() -> None:
    patches = torch.rand(3, 4, 5)
    assert of_each(patches) is patches
    assert of_all(patches).shape == (1, 12, 5)
    assert torch.equal(of_all(patches)[0, 5], patches[1, 1])


def test_no_gradient_goes_through_the_features_that_were_there() -> None:
    """The content term moves what is drawn towards what was there, never the other way round."""
    game, given, grads = tiny_cut(), batch_of(32).a, []
    forward = game.heads.forward

    def watched(found: Any, places: Any) -> Any:
        grads.append(torch.is_grad_enabled())
        return forward(found, places)

    game.heads.forward = watched  # type: ignore[method-assign]
    game.drawn(given, False)
    assert grads == [False, True]


def test_the_losses_are_the_papers() -> None:
    game, batch, made = tiny_cut(patches=10_000), batch_of(32), Made()  # all places: nothing is left to chance
    terms = game.generator_loss(batch, made)
    fake = game.a2b(batch.a)
    assert torch.equal(made.fake, fake)
    assert not made.fake.requires_grad
    assert set(terms) == {"adversarial", "content", "identity"}
    assert torch.allclose(terms["adversarial"], (game.on_b(fake) - 1).square().mean())
    for name, given in (("content", batch.a), ("identity", batch.b)):
        found, again = (encoded(game.a2b, x, game.layers)[0] for x in (given, game.a2b(given)))
        places = [torch.arange(f.shape[2] * f.shape[3]).expand(2, -1) for f in found]
        pairs = zip(game.heads(again, places), game.heads(found, places), strict=True)
        assert torch.allclose(terms[name], torch.stack([contrast(*pair, 0.07) for pair in pairs]).mean(), rtol=1e-4)
    terms = game.discriminator_loss(batch, made)
    assert torch.allclose(terms["real"], (game.on_b(batch.b) - 1).square().mean() / 2)
    assert torch.allclose(terms["fake"], game.on_b(fake).square().mean() / 2)


def test_fastcut_has_no_identity_and_draws_mirrored_pictures_half_of_the_time() -> None:
    game, batch = tiny_cut(content=10.0, identity=0.0, flip=0.5), batch_of(32)
    plain, turned = game.a2b(batch.a), game.a2b(batch.a.flip(3))
    mirrored = 0
    for seed in range(40):
        torch.manual_seed(seed)
        made = Made()
        assert set(game.generator_loss(batch, made)) == {"adversarial", "content"}
        assert torch.equal(made.fake, plain) or torch.equal(made.fake, turned)
        mirrored += torch.equal(made.fake, turned)
    assert 10 < mirrored < 30


def test_what_is_drawn_of_a_mirrored_picture_is_compared_with_the_picture_as_it_was() -> None:
    """A generator that draws the very picture it is given, mirrored or not, has found each patch again."""
    torch.manual_seed(0)
    game, a = tiny_cut(patches=64), batch_of(16).a
    game.a2b = SimpleNamespace(layers=[nn.Identity()], stops=(0,))  # type: ignore[assignment]
    game.layers, game.heads = (0,), PatchHeads([3], features=16)
    torch.manual_seed(1)
    fake, plain = game.drawn(a, False)
    torch.manual_seed(1)
    turned, mirrored = game.drawn(a, True)
    assert torch.equal(turned.flip(3), fake)
    assert torch.equal(plain, mirrored)


def test_the_patch_discriminator_has_the_originals_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in AntialiasedPatchDiscriminator().parameters()) == 2_764_737
    assert AntialiasedPatchDiscriminator(width=2)(torch.rand(1, 3, 64, 64)).shape == (1, 1, 6, 6)


def test_networks_for_single_pictures_have_the_authors_parameters() -> None:
    def block(given: int, made: int) -> int:
        return 9 * given * given + given + 9 * given * made + made + given * made

    with torch.device("meta"):
        generator, judge = SinGenerator(), SinDiscriminator()
    same = 2 * (9 * 160 * 160 + 160)
    expected = 3 * 80 + 80 + block(80, 160) + 6 * same + 9 * 160 * 80 + 80 + 80 * 3 + 3
    assert sum(p.numel() for p in generator.parameters()) == expected  # theirs has one more, of the noise
    sizes = [32, 64, 128, 256, 384]
    expected = 3 * 32 + 32 + sum(map(block, sizes, sizes[1:])) + 9 * 384 * 384 + 384
    expected += 384 * 16 * 384 + 384 + 384 + 1
    assert sum(p.numel() for p in judge.parameters()) == expected
    assert widths(generator, (0, 2, 4)) == [3, 160, 160]
    with pytest.raises(ValueError, match="48 is no 8, 16, 32"):
        SinDiscriminator(size=48)


def test_networks_for_single_pictures_keep_the_size_and_the_scale_of_features() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 38, 54)
    assert SinGenerator(width=4, blocks=2)(x).shape == x.shape
    assert SinDiscriminator(width=4)(torch.randn(2, 3, 64, 64)).shape == (2, 1)
    features = torch.randn(1, 64, 32, 32)
    for layer, side in ((StyleBlock(64, 64), 32), (StyleBlock(64, 128, down=True), 16), (StyleUp(64, 32), 64)):
        made = layer(features)
        assert made.shape[2:] == (side, side)
        assert 0.3 < made.square().mean().sqrt() < 1.5


def test_the_first_weights_of_networks_that_scale_them_are_left_alone() -> None:
    torch.manual_seed(0)
    game = tiny_sincut()
    assert game.a2b.layers[1][0].weight.std() > 0.3  # type: ignore[index,union-attr]
    assert game.heads.heads[0][0].weight.std() < 0.1  # type: ignore[index,union-attr]


def test_sincut_has_a_pixel_term_and_a_penalty() -> None:
    game, batch, made = tiny_sincut(), batch_of(16), Made()
    (_, loss), (_, judged) = game.turns(Clock())
    terms = loss(batch, made)
    assert set(terms) == {"adversarial", "content", "identity", "pixel"}
    assert torch.allclose(terms["pixel"], (game.a2b(batch.b) - batch.b).abs().mean())
    terms = judged(batch, made)
    b = batch.b.clone().requires_grad_()
    (slope,) = torch.autograd.grad(game.on_b(b).sum(), b)
    assert torch.allclose(terms["r1"], slope.square().sum((1, 2, 3)).mean() / 2, rtol=1e-4)
    assert set(terms) == {"real", "fake", "r1"}


# --- patches of single pictures


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """A picture of A whose red and green are its columns and rows, and a plain one of B."""
    rows, columns = np.mgrid[0:200, 0:240].astype(np.uint8)
    for side in "ab":
        (tmp_path / side).mkdir()
    write(Picture(np.dstack([columns, rows, 0 * rows])), tmp_path / "a" / "a.png")
    write(Picture(np.full((100, 130, 3), 7, np.uint8)), tmp_path / "b" / "b.png")
    return tmp_path


def test_patches_of_a_batch_share_a_zoom_and_do_not_lie_on_one_another(single: Path) -> None:
    data = Patches(str(single / "a"), str(single / "b" / "b.png"), size=16, zoom=3.0, together=12, flip=False)
    zooms = set()
    for group in range(6):
        corners, steps = [], []
        for position in range(12 * group, 12 * group + 12):
            x, y = data[position].a[:2].double()
            assert x.shape == (16, 16)
            corners.append((x[0, 0].item(), y[0, 0].item()))
            steps.append(((x[0, -1] - x[0, 0]).item() / 15, (y[-1, 0] - y[0, 0]).item() / 15))
        zoom = np.mean(steps, axis=0)
        assert np.allclose(steps, zoom, atol=0.2)
        assert (zoom > 0.8).all()
        assert (zoom < 3.4).all()
        zooms.add(tuple(zoom.round(1)))
        for place, corner in enumerate(corners):
            far = np.abs(np.array(corners[:place]).reshape(-1, 2) - corner) / zoom
            assert (far.max(1) > 14).all()
    assert len(zooms) > 4  # and other batches have others


def test_patches_are_functions_of_seed_and_position(single: Path) -> None:
    def data(seed: int) -> Patches:
        return Patches(str(single / "a"), str(single / "b"), size=16, together=4, seed=seed)

    one, same, other = data(1), data(1), data(2)
    assert all(torch.equal(one[p].a, same[p].a) for p in (9, 2, 100_007))
    assert not all(torch.equal(one[p].a, other[p].a) for p in range(4))
    mirrored = [bool(one[p].a[0, 0, 0] > one[p].a[0, 0, -1]) for p in range(60)]
    assert 15 < sum(mirrored) < 45


def test_patches_want_one_picture_that_is_large_enough(single: Path) -> None:
    write(Picture(np.zeros((100, 130, 3), np.uint8)), single / "a" / "more.png")
    with pytest.raises(UserError, match="holds 2 pictures; Patches takes one"):
        Patches(str(single / "a"), str(single / "b"))
    with pytest.raises(UserError, match="130x100 pixels are too few for patches of 128x128"):
        Patches(str(single / "a" / "a.png"), str(single / "b"), size=128)
    with pytest.raises(UserError, match="from 1 on"):
        Patches(str(single / "a" / "a.png"), str(single / "b"), zoom=0.5)


@pytest.mark.parametrize("name", [name for name in names() if name.startswith(("cut-", "fastcut-"))])
def test_recipes_build_the_papers_games(name: str) -> None:
    recipe = load(name)
    with torch.device("cpu" if name.endswith("small") else "meta"):
        game = build(recipe.game)
    parameters = sum(parameter.numel() for parameter in game.a2b.parameters())
    if name.endswith("horse2zebra"):
        assert parameters == 11_378_179 - (0 if recipe.game.kwargs["generator"].kwargs.get("bias", True) else 3_648)
        assert (game.layers, game.patches, game.temperature, game.negatives) == (LAYERS, 256, 0.07, of_each)
        fast = name.startswith("fastcut")
        assert (game.content, game.identity, game.flip) == ((10.0, 0.0, 0.5) if fast else (0.5, 0.5, 0.0))
    else:
        assert name.endswith("small") is (2 * parameters <= 6_000_000)  # bytes in fp16
