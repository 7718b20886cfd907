"""The laboratory's U-Net: residual blocks of two convolutions, pixels rearranged on the way down, transposed
convolutions and skips on the way up, told the noise level by sinusoids and the class by an embedding."""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisette.base.config import require
from noisette.base.errors import shown, unknown
from noisette.base.shapes import NO_CLASS_NO_ATTENTION, Images, Labels, Levels
from noisette.models.layers import NORMS, Attention, Down, ResidualBlock, SeededDropout, Sinusoid

MOST_WIDTHS, WIDEST, MOST_BLOCKS = 10, 100_000, 32
"""More than any network of small images: they bound what a file of settings can make of it, were it only its parts."""


@dataclass(frozen=True)
class UNetConfig:
    """The network's shape."""

    widths: tuple[int, ...] = (48, 96)
    """Channels of each level; every level halves height and width, and the last is the bottleneck."""
    blocks: int = 2
    """Residual blocks (two convolutions each) a level, on the way down, in the bottleneck and on the way up."""
    patch: int = 2
    """Side of the squares of pixels that become channels before the first level (1: none)."""
    attention_at: tuple[int, ...] = ()
    """How many times smaller than the image the levels are that get attention (of 28 x 28, 4 is 7 x 7)."""
    embedding: int = 128
    """Width of the embedding of noise level and class."""
    dropout: float = 0.0
    """Rate inside the residual blocks."""
    norm: str = "group"
    """group or channel."""

    def __post_init__(self) -> None:
        require(
            1 <= len(self.widths) <= MOST_WIDTHS and all(1 <= width <= WIDEST for width in self.widths),
            f"widths {shown(self.widths)}",
            f"positive numbers up to {WIDEST:,}, at most {MOST_WIDTHS} of them",
        )
        require(1 <= self.blocks <= MOST_BLOCKS, f"blocks {self.blocks}", f"at least 1, at most {MOST_BLOCKS}")
        require(1 <= self.patch <= 16, f"patch {self.patch}", "a number from 1 to 16")
        require(
            4 <= self.embedding <= WIDEST and self.embedding % 2 == 0,
            f"embedding {self.embedding}",
            f"an even number of at least 4, at most {WIDEST:,}",
        )
        require(0 <= self.dropout < 1, f"dropout {self.dropout}", "a rate from 0 up to 1")
        NORMS[self.norm]
        for factor in self.attention_at:
            if factor not in self.factors():
                raise unknown("attention_at", factor, map(str, self.factors()))

    def factors(self) -> tuple[int, ...]:
        """How many times smaller than the image each level is."""
        return tuple(self.patch * 2**level for level in range(len(self.widths)))


class UNet(nn.Module):
    """F(x [B, C, H, W], c_noise [B], label [B] in -2..classes-1) -> [B, C, H, W], for any height and width.

    Label -1 asks for no class, -2 for no class and no attention.

    Sizes that the levels do not divide are padded by the edge pixels and cropped again. The output layer and every
    residual branch are zero at birth, so F starts as 0. It computes in the type of its weights, whatever x's is.
    """

    def __init__(self, config: UNetConfig, channels: int, classes: int) -> None:
        super().__init__()
        self.config, self.channels, self.classes = config, channels, classes
        widths, embedding = config.widths, config.embedding
        patch_channels = channels * config.patch**2

        self.clock = Sinusoid(embedding)
        self.embed_level = nn.Sequential(nn.Linear(embedding, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.embed_class = nn.Embedding(classes + 1, embedding)  # the last row is "no class"

        self.stem = nn.Conv2d(patch_channels, widths[0], 3, padding=1)
        self.down_stages, self.downs = nn.ModuleList(), nn.ModuleList()
        self.ups, self.up_stages = nn.ModuleList(), nn.ModuleList()
        for level, (width, below) in enumerate(itertools.pairwise(widths)):
            self.down_stages.append(self._stage(level, width))
            self.downs.append(Down(width, below))
            self.ups.append(nn.ConvTranspose2d(below, width, 2, stride=2))
            self.up_stages.append(self._stage(level, 2 * width))
        self.bottleneck = self._stage(len(widths) - 1, widths[-1])

        self.out_norm = NORMS[config.norm](widths[0])
        self.output = nn.Conv2d(widths[0], patch_channels, 3, padding=1)
        for site, module in enumerate(self.modules()):
            if isinstance(module, SeededDropout):
                module.site = site
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what convolutions are fastest in

    def _stage(self, level: int, c_in: int) -> nn.ModuleList:
        """The residual blocks of a level, each followed by attention where the configuration asks for it."""
        config, width = self.config, self.config.widths[level]
        parts = nn.ModuleList()
        for number in range(config.blocks):
            first = c_in if number == 0 else width
            parts.append(ResidualBlock(first, width, config.embedding, config.norm, config.dropout))
            if config.factors()[level] in config.attention_at:
                parts.append(Attention(width, config.norm))
        return parts

    @torch.no_grad()
    def initialise(self, random: torch.Generator) -> None:
        """Bear every weight, in the order of the modules. Zeros come last, so that nothing undoes them."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                # Variance 1/fan_in keeps unit variance through a linear layer (LeCun et al. 1998). Each output pixel
                # of the 2 x 2 stride 2 transposed convolution sees one input pixel, its C_in channels.
                fan_in = module.weight[0].numel() if not isinstance(module, nn.ConvTranspose2d) else len(module.weight)
                module.weight.normal_(0, fan_in**-0.5, generator=random)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.GroupNorm | nn.LayerNorm):
                module.reset_parameters()  # ones and zeros
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0, 1, generator=random)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                module.conv2.weight.zero_()  # the residual branch adds nothing yet
                module.modulation.weight.zero_()  # and is not modulated yet
            elif isinstance(module, Attention):
                module.output.weight.zero_()
        self.output.weight.zero_()

    def forward(self, x: Images, c_noise: Levels, label: Labels) -> Images:
        (height, width), asked = x.shape[2:], x.dtype
        x = x.to(self.output.weight.dtype)
        multiple = self.config.factors()[-1]
        pad_height, pad_width = -height % multiple, -width % multiple
        if pad_height or pad_width:
            x = F.pad(x, (0, pad_width, 0, pad_height), mode="replicate")

        embedding = self.embed_level(self.clock(c_noise).to(x.dtype))  # [B, E]
        rows = torch.where(label < 0, self.classes, label)  # the last row is "no class"
        embedding = F.silu(embedding + self.embed_class(rows))
        alone = label == NO_CLASS_NO_ATTENTION  # [B]

        x = F.pixel_unshuffle(x, self.config.patch)  # [B, C p^2, H/p, W/p]
        h = self.stem(x)  # [B, widths[0], H/p, W/p]
        skips = []
        for stage, down in zip(self.down_stages, self.downs, strict=True):
            h = _run(stage, h, embedding, alone)
            skips.append(h)
            h = down(h)
        h = _run(self.bottleneck, h, embedding, alone)
        for up, stage in zip(reversed(self.ups), reversed(self.up_stages), strict=True):
            h = torch.cat([up(h), skips.pop()], dim=1)
            h = _run(stage, h, embedding, alone)
        h = self.output(F.silu(self.out_norm(h)))  # [B, C p^2, H/p, W/p]
        return F.pixel_shuffle(h, self.config.patch)[:, :, :height, :width].to(asked)


def _run(stage: nn.Module, x: Tensor, embedding: Tensor, alone: Tensor) -> Tensor:
    for part in stage.children():
        x = part(x, embedding) if isinstance(part, ResidualBlock) else part(x, alone)
    return x


def multiply_adds(network: UNet, height: int, width: int) -> int:
    """Multiply-adds of the convolutions and linear layers for one image, forward. Takes no memory for its pixels."""
    with torch.device("meta"):  # shapes alone
        shadow = UNet(network.config, network.channels, network.classes).eval()
        image, label = torch.zeros(1, network.channels, height, width), torch.zeros(1, dtype=torch.int64)
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        if isinstance(module, nn.ConvTranspose2d):
            total += weight.numel() * result[0, 0].numel() // math.prod(module.stride)
        else:
            total += weight.numel() * result[0, 0].numel() if result.ndim == 4 else weight.numel()

    for module in shadow.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        shadow(image, torch.zeros(1, device="meta"), label)
    return total
