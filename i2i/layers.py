"""Blocks that two papers share, and how they behave when a trained network is run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

__all__ = [
    "BatchNorm",
    "BlurDown",
    "BlurUp",
    "BlurredDown",
    "BlurredUp",
    "Conv2d",
    "Dropout",
    "EqualisedConv2d",
    "EqualisedDown",
    "EqualisedLinear",
    "EqualisedUp",
    "GroupNorm",
    "InstanceNorm",
    "MinibatchDeviation",
    "Moments",
    "Narrow",
    "Norm",
    "PReLU",
    "PixelNorm",
    "Resampling",
    "Residual",
    "ResizeUp",
    "SelfAttention",
    "SpectralNorm",
    "Statistics",
    "StoredBatchNorm",
    "Wide",
    "conv2d",
    "init_normal",
    "init_xavier",
    "modes",
    "normalised",
    "power_iteration",
    "seed_dropout",
    "spectral_norm",
    "test_time",
    "with_spectral_norm",
]

Network = TypeVar("Network", bound=nn.Module)

FILTERS = 16  # that a CPU computes at once in bf16; fewer take as long
PIXELS = 5  # in a row that are made together where filters are few
WIDE = 5  # pixels in a row that such filters must see for that to be worth its trouble

PIECE = 16 << 20  # bytes measured at once: they and their float32 copy stay in a processor's cache

Norm = Callable[[int], nn.Module]
"""channels -> a normalising layer."""


class Statistics(NamedTuple):
    """What a norm has measured: [C] each, in float32 at least."""

    mean: Tensor
    variance: Tensor


class Moments:
    """Mean and variance of each channel, gathered in float64 piece by piece (Chan et al. 1983, Eq. 2.1).

    Sums are taken of differences from a value within the piece. In a flat picture the variance is a millionth of the
    mean's square, and the plain float32 sums that torch's norms take in channels_last leave nothing of that.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())
        self.kind = torch.float32

    def add(self, piece: Tensor) -> None:
        """piece: [1,C,h,W]."""
        rows = piece.permute(0, 2, 3, 1).reshape(-1, piece.shape[1])  # a view in channels_last
        count, self.kind = len(rows), torch.promote_types(piece.dtype, torch.float32)
        near = rows[:: max(1, count // 64)].to(self.kind).mean(0)
        apart = rows.to(self.kind, copy=True).sub_(near)
        shift = apart.sum(0).double() / count
        squares = apart.square_().sum(0).double() - shift.square() * count
        mean = near.double() + shift
        if self.count:
            total, gap = self.count + count, self.mean - mean
            squares += self.squares + gap.square() * (self.count * count / total)
            mean += gap * (self.count / total)
        self.count, self.mean, self.squares = self.count + count, mean, squares

    def found(self) -> Statistics:
        variance = (self.squares / self.count).clamp_min(0)
        return Statistics(self.mean.to(self.kind), variance.to(self.kind))


def normalised(x: Tensor, by: Statistics, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """x: [N,C,H,W] by given statistics, in x's own precision and layout."""
    weight, bias = (None if value is None else value.to(by.mean.dtype) for value in (weight, bias))
    return F.batch_norm(x, by.mean, by.variance, weight, bias, eps=eps)


def per_image(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """x: [N,C,H,W], each channel of each image normalised by itself.

    float32 in the plain layout takes torch's own route, which gives the plain network's result to the bit. Otherwise
    group norm with one group a channel keeps channels_last, or, on a CPU without gradients, `Moments`, which is exact.
    """
    if x.dtype == torch.float32 and x.is_contiguous():
        return F.instance_norm(x, weight=weight, bias=bias, eps=eps)
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return F.group_norm(x, x.shape[1], weight, bias, eps=eps)
    done = []
    for image in x.split(1):
        moments = Moments()
        for piece in image.split(max(1, PIECE // (image[:, :, :1].nbytes)), 2):
            moments.add(piece)
        done.append(normalised(image, moments.found(), weight, bias, eps))
    return done[0] if len(done) == 1 else torch.cat(done)


class InstanceNorm(nn.Module):
    """Instance norm without parameters or running statistics (Ulyanov et al. 2016), by the route that is fast.

    Two ways to the same value: with a gradient, batch norm of one image at a time, which keeps channels_last and has a
    fast backward; without, `per_image`. `F.instance_norm` copies channels_last tensors to NCHW and back on every call.

    x: [N,C,H,W] with H*W > 1.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.eps = channels, eps

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return per_image(x, None, None, self.eps)
        images = [F.batch_norm(image, None, None, training=True, eps=self.eps) for image in x.split(1)]
        return images[0] if len(images) == 1 else torch.cat(images)

    def extra_repr(self) -> str:
        return f"{self.channels}"


class BatchNorm(nn.Module):
    """Batch norm that keeps no running statistics (Isola et al. 2017, Sec. 3.3).

    In training the statistics are the batch's. When run they are those of each image by itself, as the paper's test
    batch of one gives them, so that an image's result does not depend on its neighbours in a batch.

    x: [N,C,H,W] with N*H*W > 1 in training and H*W > 1 when run.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.eps = channels, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        return per_image(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.channels}"


class StoredBatchNorm(BatchNorm):
    """Batch norm that also remembers the statistics of training (Ioffe and Szegedy 2015, Alg. 2).

    In training the statistics are the batch's and are averaged into the stored ones. When run they are the stored
    ones, or, where `test_time` has chosen another mode than "stored", each image's own.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps=eps)
        self.momentum, self.stored = momentum, True
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and not self.stored:
            return super().forward(x)
        statistics = self.running_mean, self.running_var
        return F.batch_norm(x, *statistics, self.weight, self.bias, self.training, self.momentum, self.eps)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int] = (1, 1), groups: int = 1,
) -> Tensor:  # fmt: skip
    """`F.conv2d`, equal up to rounding and three times as fast for few, wide filters in bf16 on a CPU.

    Fewer channels than a register holds go the plain way: for 8 or 12 of them and filters 8 or 12 wide, which the fast
    way makes of narrower ones, oneDNN 3.12 has been seen to compute wrong values (with AMX).
    """
    few = 2 * weight.shape[0] <= FILTERS and weight.shape[3] >= WIDE and groups == 1 and weight.shape[1] >= FILTERS
    if few and tuple(stride) == tuple(dilation) == (1, 1) and x.device.type == "cpu" and x.dtype == torch.bfloat16:
        return FewFilters.apply(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), padding)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


class FewFilters(torch.autograd.Function):
    """A convolution with fewer filters than a processor computes at once: sixteen, while those that draw a picture are
    three. Five pixels in a row are made together, by fifteen filters: the three in each of five places of a window that
    is four pixels wider.

    The gradient is the plain convolution's: for strides as large, oneDNN 3.12 has been seen to compute wrong ones.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
        context.save_for_backward(x, weight)
        context.padding = tuple(padding)
        outputs, width = weight.shape[0], weight.shape[3]
        pixels = min(PIXELS, FILTERS // outputs)
        more, columns = pixels - 1, x.shape[3] + 2 * padding[1] - width + 1
        several = torch.cat([F.pad(weight, (place, more - place)) for place in range(pixels)])
        biases = None if bias is None else bias.repeat(pixels)
        y = F.conv2d(x, several, biases, (1, pixels), (padding[0], padding[1] + more))
        pictures = y.permute(0, 2, 3, 1).reshape(len(y), y.shape[2], -1, outputs)  # a view in channels_last
        return pictures[:, :, more : more + columns].permute(0, 3, 1, 2)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = context.saved_tensors
        like = (1, 1), context.padding, (1, 1), False, (0, 0), 1  # stride, padding, dilation; not transposed; groups
        mask = context.needs_input_grad[:3]
        return *torch.ops.aten.convolution_backward(gradients[0], x, weight, [len(weight)], *like, mask), None


class Conv2d(nn.Conv2d):
    """A convolution with zero padding, by the route that is fast: see `conv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.padding_mode == "zeros" and not isinstance(self.padding, str)
        return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class PReLU(nn.PReLU):
    """A PReLU (He et al. 2015, arXiv:1502.01852) with one slope, whose gradient is fast on a CPU.

    torch's own takes as long there as some of the convolutions between which it stands.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.requires_grad and torch.is_grad_enabled() and x.device.type == "cpu":
            return Bent.apply(x, self.weight)
        return super().forward(x)


class Bent(torch.autograd.Function):
    """x where it is positive, slope * x elsewhere (Eq. 1)."""

    @staticmethod
    def forward(context: Any, x: Tensor, slope: Tensor) -> Tensor:
        context.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = context.saved_tensors
        (gradient,) = gradients
        above = torch.ops.aten.threshold_backward(gradient, x, 0)
        below = gradient - above
        by_slope = (below * x).sum(dtype=torch.promote_types(x.dtype, torch.float32))
        return torch.addcmul(above, below, slope.to(x.dtype)), by_slope.to(slope.dtype).reshape(slope.shape)


class Narrow(nn.Module):
    """Hands pictures on in the number format of a layer's weights.

    A network that begins so is given float32 also where its weights are in bf16: what it adds its result to, at its end
    behind `Wide`, keeps all levels. Rounded to bf16's 8 bits, the enlarged picture would have a grid of its own.

    Args:
        first: the layer.
    """

    def __init__(self, first: nn.Conv2d) -> None:
        super().__init__()
        self.first = (first,)  # in a tuple, or its weights would have two names

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.first[0].weight.dtype)


class Wide(nn.Module):
    """Goes on in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class Dropout(nn.Module):
    """Dropout that can stay on when a network is run (pix2pix's only source of noise, Sec. 3.1).

    In training it draws from the global generator, which the trainer seeds per lane. When run it is the identity, or,
    with `draws` set by `seed_dropout`, drops by one generator per image, so that an image's result depends on its own
    seed alone.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p
        self.draws: Sequence[torch.Generator] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return F.dropout(x, self.p, training=True)
        if self.draws is None:
            return x
        if len(self.draws) != len(x):
            raise ValueError(f"dropout was seeded for {len(self.draws)} images, but {len(x)} came")
        keep = torch.stack([torch.rand(x.shape[1:], generator=draw) >= self.p for draw in self.draws])
        return x * keep.to(x) / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Residual(nn.Module):
    """x + layers(x) (He et al. 2016, Eq. 1)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class EqualisedConv2d(nn.Conv2d):
    """A convolution whose weights are drawn from N(0, 1) and scaled by gain / sqrt(fan-in) whenever it is used (Karras
    et al. 2018, arXiv:1710.10196, Sec. 4.1): steps of Adam then change the weights of all layers at the same speed.

    Args:
        inputs, outputs: channels.
        size: of the square kernel.
        padding: with zeros.
        gain: sqrt(2) before a rectifier (He et al. 2015), 1 before nothing.
        stride: pixels from one place of the kernel to the next.
        bias: whether it has one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        padding: int = 0,
        gain: float = math.sqrt(2),
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(inputs, outputs, size, stride, padding, bias=bias)
        self.scale = gain / math.sqrt(inputs * size**2)

    def reset_parameters(self) -> None:
        equalised(self)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class EqualisedUp(EqualisedConv2d):
    """A convolution of 3 behind an enlargement that makes four of each pixel, in one: less than half the work.

    x: [N,inputs,H,W] => [N,outputs,2H,2W].
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        weight = summed(self.weight.flip(2, 3) * self.scale).transpose(0, 1)
        return F.conv_transpose2d(x, weight, self.bias, stride=2, padding=1)


class EqualisedDown(EqualisedConv2d):
    """A convolution of 3 before the mean of 2x2 pixels, in one: less than half the work.

    x: [N,inputs,2H,2W] => [N,outputs,H,W].
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, summed(self.weight * self.scale) / 4, self.bias, stride=2, padding=1)


def summed(weight: Tensor) -> Tensor:
    """Kernels of 3x3 added to themselves a pixel further, in rows and columns: [...,3,3] => [...,4,4]."""
    rows = F.pad(weight, (0, 0, 0, 1)) + F.pad(weight, (0, 0, 1, 0))
    return F.pad(rows, (0, 1)) + F.pad(rows, (1, 0))


class EqualisedLinear(nn.Linear):
    """A linear layer whose weights are drawn and scaled as those of `EqualisedConv2d` are."""

    def __init__(self, inputs: int, outputs: int, *, gain: float = math.sqrt(2)) -> None:
        super().__init__(inputs, outputs)
        self.scale = gain / math.sqrt(inputs)

    def reset_parameters(self) -> None:
        equalised(self)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


def equalised(layer: nn.Conv2d | nn.Linear) -> None:
    """First weights of a layer that scales them itself."""
    nn.init.normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class PixelNorm(nn.Module):
    """Each pixel's features, or each vector, divided by their root mean square (Karras et al. 2018, Sec. 4.2).

    x: [N,C,...] => the same shape.
    """

    def __init__(self, *, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        squares = x.to(torch.promote_types(x.dtype, torch.float32)).square().mean(1, keepdim=True)
        return x * torch.rsqrt(squares + self.eps).to(x.dtype)


class MinibatchDeviation(nn.Module):
    """One more feature map: how much the pictures of a group differ (Karras et al. 2018, Sec. 3).

    The standard deviation over the group of each feature at each place, averaged over features and places. Pictures
    that pass through together are dealt into groups of `group`, or of the largest number below that divides theirs.

    x: [N,C,H,W] => [N,C+1,H,W].
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        group = next(size for size in range(self.group, 0, -1) if len(x) % size == 0)
        groups = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (group, -1))  # => [group,M,C,H,W]
        deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # => [M]
        feature = deviation.to(x.dtype).repeat(group)[:, None, None, None]
        return torch.cat([x, feature.expand(-1, 1, *x.shape[2:])], 1)

    def extra_repr(self) -> str:
        return f"group={self.group}"


def binomial(*taps: float, channels: int) -> Tensor:
    """The filter taps x taps that sums to 1, for each channel: [channels,1,n,n].

    Always on the CPU: a network that is built without memory has its filters all the same.
    """
    line = torch.tensor(taps, device="cpu")
    line = line / line.sum()
    return (line[:, None] * line).expand(channels, 1, -1, -1).clone()


class BlurDown(nn.Conv2d):
    """Half the height and width: each channel blurred by 1-2-1, every second pixel kept (Zhang 2019, Sec. 3.2).

    Pads nothing: a reflection of 1 before it makes ceil(H/2) of H. The filter is no parameter and is stored in no file.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, groups=channels, bias=False)
        fixed(self, binomial(1, 2, 1, channels=channels))


class BlurUp(nn.ConvTranspose2d):
    """Twice the height and width: zeros between the pixels, and each channel blurred by 1-3-3-1.

    Takes a replication of 1 before it, and cuts off what that makes at the rims. The filter is as `BlurDown`'s.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 4, stride=2, padding=3, groups=channels, bias=False)
        fixed(self, 4 * binomial(1, 3, 3, 1, channels=channels))  # of four pixels three are zeros


def fixed(convolution: nn.Conv2d | nn.ConvTranspose2d, weight: Tensor) -> None:
    """Turn the weight of a convolution into a buffer that no file stores."""
    del convolution.weight
    convolution.register_buffer("weight", weight, persistent=False)


Resampling = Callable[..., nn.Module]
"""(inputs, outputs, *, bias) -> a layer that halves or doubles height and width, a convolution in it."""


class ResizeUp(nn.Sequential):
    """Each pixel made four, then a convolution of 3: draws no checkerboard, as transposed convolutions do (Odena et al.
    2016, doi:10.23915/distill.00003).

    x: [N,inputs,H,W] => [N,outputs,2H,2W].
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(nn.Upsample(scale_factor=2.0), nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3, bias=bias))


class BlurredUp(nn.Sequential):
    """`BlurUp`, then a convolution of 3 (Zhang 2019, arXiv:1904.11486; CUT's way up).

    x: [N,inputs,H,W] => [N,outputs,2H,2W].
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(nn.ReplicationPad2d(1), BlurUp(inputs), nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias))


class BlurredDown(nn.Sequential):
    """A convolution of 3 at full size, then `BlurDown`: what a picture is moved by moves the result alike (Zhang 2019,
    Sec. 3.2).

    x: [N,inputs,2H,2W] => [N,outputs,H,W].
    """

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        blur = nn.ReflectionPad2d(1), BlurDown(outputs)
        super().__init__(nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias), *blur)


class GroupNorm(nn.GroupNorm):
    """Group norm (Wu and He 2018, arXiv:1803.08494) in as many groups as divide both `groups` and the channels: for
    batches of any size, alike in training and when run.

    x: [N,channels,...].
    """

    def __init__(self, channels: int, *, groups: int = 32) -> None:
        super().__init__(math.gcd(groups, channels), channels)


class SelfAttention(nn.Module):
    """Each place looks at all others (Zhang et al. 2019, arXiv:1805.08318, Sec. 3): y = gamma * o + x, where
    o_j = W_v sum_i b_ji W_h x_i, and b_j is the softmax over i of (W_f x_i) . (W_g x_j).

    `gamma` begins at 0, so that the layer begins as the identity.

    x: [N,channels,H,W] => the same shape.

    Args:
        channels: of x.
        narrower: how many times fewer features are compared and handed on.
    """

    def __init__(self, channels: int, *, narrower: int = 8) -> None:
        super().__init__()
        inner = max(1, channels // narrower)
        self.f, self.g, self.h = (nn.Conv2d(channels, inner, 1, bias=False) for _ in range(3))
        self.v = nn.Conv2d(inner, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        f, g, h = (layer(x).flatten(2) for layer in (self.f, self.g, self.h))  # [N,inner,H*W] each
        shares = torch.softmax(f.transpose(1, 2) @ g, 1)  # [N,i,j]: Eq. 1; not torch's fused one, which has no R1
        return self.gamma * self.v((h @ shares).unflatten(2, x.shape[2:])) + x  # Eq. 2 and 3


class SpectralNorm(nn.Module):
    """A weight divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957, Eq. 8).

    The value is estimated by the singular vectors `u` and `v`, which follow the weight by power iteration (Alg. 1).
    torch's own does that in every forward pass in training. Here a forward pass changes nothing, so that it can be
    repeated (recomputation, lanes, several pictures one after another) with the same result: whoever moves the weight
    calls `power_iteration` afterwards.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, *, iterations: int = 15) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("u", F.normalize(torch.randn_like(matrix[:, 0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn_like(matrix[0]), dim=0))
        for _ in range(iterations):
            self.iterate(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """weight: [outputs,...] => the same with a largest singular value of about 1."""
        largest = ((weight.flatten(1) * self.v).sum(1) * self.u).sum()  # no matrix product: autocast would round it
        return weight / largest

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        matrix = weight.flatten(1)
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))


def spectral_norm(layer: Network) -> Network:
    """Put `SpectralNorm` on the weight of a convolution or linear layer; returns the layer."""
    parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))  # type: ignore[arg-type]
    return layer


def with_spectral_norm(network: Network) -> Network:
    """Put `SpectralNorm` on all convolutions and linear layers of a network; returns it. For a recipe: `discriminator:
    {of: i2i.layers:with_spectral_norm, network: {of: ...}}`."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and not parametrize.is_parametrized(module):
            spectral_norm(module)
    return network


def power_iteration(network: nn.Module) -> None:
    """Let every `SpectralNorm` of the network follow its weight; once after each step of the optimizer, as the trainer
    does."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList) and isinstance(norm := module[0], SpectralNorm):
            norm.iterate(module.original)


def init_normal(network: Network, *, std: float = 0.02) -> Network:
    """Draw convolutions from N(0, std) and norm scales from N(1, std), zero the biases; return the network.

    The initialisation of DCGAN, pix2pix and CycleGAN. Draws from the global generator.
    """
    return initialised(network, lambda weight: nn.init.normal_(weight, 0.0, std), std)


def init_xavier(network: Network, *, gain: float = 0.02) -> Network:
    """Draw convolutions and linear layers from N(0, gain * sqrt(2 / (fan-in + fan-out))) (Glorot and Bengio 2010,
    Eq. 16) and norm scales from N(1, gain), zero the biases; return the network.

    The initialisation of CUT. Draws from the global generator.
    """
    return initialised(network, lambda weight: nn.init.xavier_normal_(weight, gain), gain)


def initialised(network: Network, draw: Callable[[Tensor], Tensor], std: float) -> Network:
    """`network` with its weights drawn and its norms' scales around 1; what draws its own weights is left as it is."""
    for module in network.modules():
        if isinstance(module, EqualisedConv2d | EqualisedLinear):
            continue
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if not isinstance(module.weight, nn.Parameter):
                continue  # a fixed filter
            draw(module.weight)
        elif isinstance(module, BatchNorm | nn.modules.batchnorm._BatchNorm) and module.weight is not None:
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return network


def modes(network: nn.Module) -> tuple[str, ...]:
    """The test-time modes a network has, the one it is meant for first."""
    kinds = {type(module) for module in network.modules()}
    stored = ("stored",) if StoredBatchNorm in kinds else ()
    return (*stored, "deterministic", "paper") if Dropout in kinds else (*stored, "deterministic")


def test_time(network: nn.Module, mode: str) -> nn.Module:
    """Make a network ready to run in `mode`, and return it.

    "stored" takes the norms' stored statistics, the others each image's own. "deterministic" and "stored" switch
    dropout off; "paper" leaves it on: call `seed_dropout` before every batch.
    """
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, StoredBatchNorm):
            module.stored = mode == "stored"
    seed_dropout(network, [] if mode == "paper" else None)
    return network


def seed_dropout(network: nn.Module, draws: Sequence[torch.Generator] | None) -> None:
    """Give every `Dropout` of the network one CPU generator per image of the next batch; None switches dropout off."""
    for module in network.modules():
        if isinstance(module, Dropout):
            module.draws = draws
