"""The U-Net's parts. How weights are born is not decided here but in one place, `UNet.initialise`."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisette.base.registry import Registry
from noisette.base.seeds import generator

NORMS: Registry[Callable[[int], nn.Module]] = Registry("normalisation")


@NORMS.register("group")
def group_norm(channels: int) -> nn.Module:
    """Group normalisation (Wu & He 2018) with at most 8 groups of at least 4 channels."""
    groups = next(count for count in range(min(8, max(1, channels // 4)), 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels)


@NORMS.register("channel")
class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel: [B, C, H, W] -> the same.

    On channels-last memory it reads each pixel once and keeps bfloat16, where group normalisation walks the image
    twice.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SeededDropout(nn.Module):
    """Dropout whose masks are keyed by image, so that training is the same however its batches are cut.

    `keys` [B] is set before each training forward by `key_dropout`; `site` tells the layers of one network apart.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.site = 0
        self.keys: Sequence[int] = ()

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        if not self.keys or len(x) % len(self.keys):
            raise ValueError(f"dropout needs one key an image: found {len(self.keys)} for {len(x)} images")
        masks = [torch.rand(x.shape[1:], generator=generator("dropout", self.site, key)) for key in self.keys]
        times = len(x) // len(self.keys)  # guidance runs each image several times in one batch
        keep = (torch.stack(masks * times) >= self.rate).to(x)
        return x * keep / (1 - self.rate)


def key_dropout(network: nn.Module, keys: Sequence[int]) -> None:
    """Set the dropout keys of the network's next training batch, one an image."""
    for module in network.modules():
        if isinstance(module, SeededDropout):
            module.keys = keys


class Sinusoid(nn.Module):
    """Sines and cosines of a clock: c_noise [B] -> [B, width] (Vaswani et al. 2017, section 3.5).

    c_noise spans about 3 units over all levels, and neighbours of a table of 1000 differ by about 0.001: angular
    frequencies run from `HIGHEST`, which tells those apart, down to 1, which sees the whole span.
    """

    HIGHEST = 256.0

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, clock: Tensor) -> Tensor:
        # No buffer: it would be rounded when the network is cast to bfloat16.
        octaves = torch.linspace(0, math.log2(self.HIGHEST), self.width // 2, dtype=torch.float32, device=clock.device)
        angles = clock.float()[:, None] * octaves.exp2()  # [B, width / 2]
        return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
    """x + conv(act(modulate(norm(conv(act(norm(x))))))): two convolutions, told the level and the class in between.

    [B, C_in, H, W], embedding [B, E] -> [B, C_out, H, W]. The last convolution is zero at birth.
    """

    def __init__(self, c_in: int, c_out: int, embedding: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.norm1 = NORMS[norm](c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * c_out)
        self.norm2 = NORMS[norm](c_out)
        self.dropout = SeededDropout(dropout)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)  # [B, C_out, 1, 1] each
        h = self.conv1(F.silu(self.norm1(x)))  # [B, C_out, H, W]
        h = torch.addcmul(shift, self.norm2(h), scale + 1)
        h = self.conv2(self.dropout(F.silu(h)))
        return torch.add(self.shortcut(x), h)


class Attention(nn.Module):
    """Self-attention over the pixels, as a residual branch whose output is zero at birth: [B, C, H, W] -> the same.

    Of the images in `alone` [B] each pixel sees itself alone: the attention map is the identity (Ahn et al. 2024, eq.
    16).
    """

    HEAD_WIDTH = 32

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.heads = next(h for h in range(max(1, channels // self.HEAD_WIDTH), 0, -1) if channels % h == 0)
        self.norm = NORMS[norm](channels)
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1)
        self.output = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, alone: Tensor) -> Tensor:
        B, C, H, W = x.shape
        pixels = self.query_key_value(self.norm(x)).permute(0, 2, 3, 1)  # [B, H, W, 3C], a view of channels-last
        qkv = pixels.reshape(B, H * W, 3, self.heads, C // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # [B, heads, H * W, C / heads] each
        # Written out: on a CPU the backward of the fused kernel takes four times as long in bfloat16.
        weights = (q * (C // self.heads) ** -0.5 @ k.mT).softmax(-1)  # [B, heads, H * W, H * W]
        seen = torch.where(alone[:, None, None, None], v, weights @ v)
        h = seen.transpose(1, 2).reshape(B, H, W, C).permute(0, 3, 1, 2)  # [B, C, H, W]
        return torch.add(x, self.output(h))


class Down(nn.Module):
    """Halve height and width by rearranging pixels, so that none is lost: [B, C_in, H, W] -> [B, C_out, H/2, W/2]."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(4 * c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.pixel_unshuffle(x, 2))  # type: ignore[no-any-return]
