"""Small classifiers of images whose penultimate features are the space that generated images are measured in."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from noisette.base.config import require
from noisette.base.registry import Registry
from noisette.base.shapes import Images

SMALLEST = 8
"""Height and width that are left when the networks have halved both three times: at least 1."""

NETWORKS: Registry[Callable[[int, int, int, int], nn.Module]] = Registry("classifier network")
"""Functions (channels, height, width, features) -> module from images [B, C, H, W] to features [B, D]."""


@dataclass(frozen=True)
class ClassifierConfig:
    """The classifier's shape."""

    network: str = "plain"
    """plain, or residual: two designs, for a second opinion."""
    features: int = 96
    """Width of the last layer before the classes: the space of the distances."""

    def __post_init__(self) -> None:
        NETWORKS[self.network]
        require(
            64 <= self.features <= 128 and self.features % 8 == 0,
            f"features {self.features}",
            "a multiple of 8 from 64 to 128",
        )


class Classifier(nn.Module):
    """images [B, C, H, W] in [-1, 1] -> logits [B, K], features [B, D]. Images of its own size only."""

    def __init__(self, config: ClassifierConfig, channels: int, height: int, width: int, classes: int) -> None:
        super().__init__()
        self.shape, self.classes = (channels, height, width), classes
        self.body = NETWORKS[config.network](channels, height, width, config.features)
        self.head = nn.Linear(config.features, classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # what convolutions are fastest in

    @torch.no_grad()
    def initialise(self, random: torch.Generator) -> None:
        """Bear every weight, in the order of the modules."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # Variance 2/fan_in keeps the second moment through a layer and its rectifier (He et al. 2015).
                module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=random)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm):
                module.reset_parameters()  # ones and zeros, and forgets what was seen

    def forward(self, images: Images) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return self.head(features), features


@NETWORKS.register("plain")
def plain(channels: int, height: int, width: int, features: int) -> nn.Module:
    """Three 3 x 3 convolutions with batch norm and max pooling, then a dense layer."""
    layers: list[nn.Module] = []
    for narrow, wide in ((channels, 32), (32, 64), (64, 128)):  # 28 -> 14 -> 7 -> 3
        layers += [nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.MaxPool2d(2)]
        layers += [nn.BatchNorm2d(wide), nn.ReLU()]
    rows, columns = min(4, height // 8), min(4, width // 8)  # so that the dense layer of a large image stays small
    layers += [nn.AdaptiveAvgPool2d((rows, columns)), nn.Flatten()]
    layers += [nn.Linear(128 * rows * columns, features, bias=False), nn.BatchNorm1d(features), nn.ReLU()]
    return nn.Sequential(*layers)


@NETWORKS.register("residual")
def residual(channels: int, height: int, width: int, features: int) -> nn.Module:
    """Strided convolutions and residual blocks with group norm, then the average over the image."""
    return nn.Sequential(
        _unit(channels, 32, 5, stride=2),  # 28 -> 14
        _Residue(32),
        _unit(32, 64, 3, stride=2),  # 14 -> 7
        _Residue(64),
        _unit(64, features, 3, stride=2),  # 7 -> 4
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class _Residue(nn.Module):
    """`x + f(x)`, f two units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_unit(width, width, 3), _unit(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.inner(x))


def _unit(narrow: int, wide: int, size: int, stride: int = 1) -> nn.Module:
    """A convolution, a group norm and a SiLU."""
    convolution = nn.Conv2d(narrow, wide, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, wide), nn.SiLU())
