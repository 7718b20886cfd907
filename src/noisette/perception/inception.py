"""Inception v3 as the literature measures generated images in it, for those who have its weights in a file.

Szegedy et al. 2015 (arXiv 1512.00567) with the oddities of the network behind the original FID (Heusel et al. 2017):
images are enlarged to 299 x 299 as TensorFlow 1 did, averages leave out the padding, and the last block pools by the
maximum. The names of the weights are those of `pt_inception-2015-12-05-6726825d.pth`, which pytorch-fid and
torch-fidelity use. Nothing is unpickled here, so they come as safetensors (once, wherever that file is trusted):

    save_file(torch.load("pt_inception-2015-12-05-6726825d.pth", weights_only=True), "inception.safetensors")
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisette.base.errors import Refusal
from noisette.base.files import digest_of, existing_file
from noisette.base.network_file import first_difference
from noisette.base.shapes import Images
from noisette.base.tensor_file import open_tensors

FEATURES = 2048
SIZE = 299
AT_A_TIME = 50
"""Images enlarged at a time: bounds the memory."""

Kernel = int | tuple[int, int]
Branches = dict[str, list[tuple[int, Kernel]]]
"""Units one after another, by the name of their branch: channels and kernel of each."""


class _Unit(nn.Sequential):
    """A convolution, a batch norm and a rectifier."""

    def __init__(self, narrow: int, wide: int, kernel: Kernel, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        high, broad = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (high // 2, broad // 2) if padded else (0, 0)
        self.conv = nn.Conv2d(narrow, wide, (high, broad), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(wide, eps=0.001)
        self.relu = nn.ReLU()


class _Mixed(nn.Module):
    """Branches side by side, and a pool. With a stride the last unit of each branch takes it, unpadded, as the pool
    does; forked branches end in two units, one flat and one upright, side by side."""

    def __init__(
        self, narrow: int, branches: Branches, pooled: int = 0, pool: str = "mean", stride: int = 1, fork: int = 0
    ) -> None:
        super().__init__()
        self.pool, self.stride = pool, stride
        self.paths: list[list[list[str]]] = []  # of each branch the steps, of each step the units side by side
        for name, units in branches.items():
            width = narrow
            path: list[list[str]] = []
            for place, (wide, kernel) in enumerate(units, 1):
                strides = stride > 1 and place == len(units)
                unit = name if len(units) == 1 and not (fork and name != "branch1x1") else f"{name}_{place}"
                self.add_module(unit, _Unit(width, wide, kernel, stride if strides else 1, padded=not strides))
                path.append([unit])
                width = wide
            if fork and name != "branch1x1":
                flat, upright = (f"{name}_{len(units) + 1}{letter}" for letter in "ab")
                self.add_module(flat, _Unit(width, fork, (1, 3)))
                self.add_module(upright, _Unit(width, fork, (3, 1)))
                path.append([flat, upright])
            self.paths.append(path)
        if pooled:
            self.branch_pool = _Unit(narrow, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for path in self.paths:
            y = x
            for step in path:
                y = torch.cat([self.get_submodule(unit)(y) for unit in step], dim=1)
            found.append(y)
        if self.stride > 1:
            return torch.cat([*found, F.max_pool2d(x, 3, self.stride)], dim=1)
        mean = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        pooled = mean if self.pool == "mean" else F.max_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([*found, self.branch_pool(pooled)], dim=1)


def _a(narrow: int, pooled: int) -> _Mixed:
    branches: Branches = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
    }
    return _Mixed(narrow, branches, pooled)


def _c(n: int) -> _Mixed:
    flat, upright = (1, 7), (7, 1)
    branches: Branches = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(n, 1), (n, flat), (192, upright)],
        "branch7x7dbl": [(n, 1), (n, upright), (n, flat), (n, upright), (192, flat)],
    }
    return _Mixed(768, branches, 192)


def _e(narrow: int, pool: str) -> _Mixed:
    branches: Branches = {"branch1x1": [(320, 1)], "branch3x3": [(384, 1)], "branch3x3dbl": [(448, 1), (384, 3)]}
    return _Mixed(narrow, branches, 192, pool, fork=384)


class Inception(nn.Module):
    """images [B, C, H, W] in [-1, 1], of one channel or three and any size -> features [B, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Unit(3, 32, 3, stride=2, padded=False)  # 299 -> 149
        self.Conv2d_2a_3x3 = _Unit(32, 32, 3, padded=False)  # 147
        self.Conv2d_2b_3x3 = _Unit(32, 64, 3)
        self.Conv2d_3b_1x1 = _Unit(64, 80, 1)  # 73
        self.Conv2d_4a_3x3 = _Unit(80, 192, 3, padded=False)  # 71
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _a(192, 32), _a(256, 64), _a(288, 64)  # 35
        twice: Branches = {"branch3x3": [(384, 3)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3)]}
        self.Mixed_6a = _Mixed(288, twice, stride=2)  # 17
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (_c(n) for n in (128, 160, 160, 192))
        last: Branches = {
            "branch3x3": [(192, 1), (320, 3)],
            "branch7x7x3": [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)],
        }
        self.Mixed_7a = _Mixed(768, last, stride=2)  # 8
        self.Mixed_7b, self.Mixed_7c = _e(1280, "mean"), _e(2048, "max")

    def forward(self, images: Images) -> Tensor:
        x = enlarge(images.expand(-1, 3, -1, -1), SIZE)
        x = (x * 127.5 - 0.5) / 128  # a grey level of 128 is 0, and they span one step less than [-1, 1]
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            if name.startswith("Mixed"):
                x = block(x)
        return x.mean((2, 3))


def enlarge(images: Tensor, size: int) -> Tensor:
    """Images [B, C, H, W] as [B, C, size, size], bilinearly: row i is taken at `i H / size`, not about its middle."""

    def weights(side: int) -> Tensor:
        place = torch.arange(size, dtype=torch.float64) * side / size
        low = place.floor().long()
        matrix = torch.zeros(size, side, dtype=torch.float64)  # [size, side]
        matrix[torch.arange(size), low] += 1 - (place - low)
        matrix[torch.arange(size), (low + 1).clamp_max(side - 1)] += place - low
        return matrix.to(images)

    return weights(images.shape[2]) @ images @ weights(images.shape[3]).T


@dataclass(frozen=True, eq=False)
class InceptionFile:
    """The network, and the SHA-256 (hex) of the file that its weights are from."""

    network: Inception
    digest: str


def load_inception(path: Path, device: torch.device) -> InceptionFile:
    """The network with the weights of a .safetensors file, in evaluation mode, without gradients.

    Raises Refusal when the file is missing, damaged or holds weights of another network.
    """
    existing_file(path, "Inception weights (noisette.perception.inception says where they come from)")
    with torch.device("meta"):
        network = Inception()
    counts = {name: torch.zeros(()) for name in network.state_dict() if name.endswith("num_batches_tracked")}
    needed = {name: tensor for name, tensor in network.state_dict().items() if name not in counts}
    with open_tensors(path, "safetensors file") as file:
        forms = {name: form for name, form in file.forms.items() if name not in counts and not name.startswith("fc.")}
        if wrong := first_difference(needed, forms):
            raise Refusal(f"{path} holds no Inception weights: {wrong}")
        stored = file.read()
    network.load_state_dict(counts | {name: stored[name].float() for name in needed}, assign=True)
    digest = digest_of(path)
    network.requires_grad_(False).eval()
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return InceptionFile(network, digest)


def inception_features(network: Inception, batches: Iterable[Tensor]) -> Tensor:
    """Features float32 [N, 2048], on the CPU, of batches of images in [-1, 1]; never in a precision below float32."""
    device = next(network.parameters()).device
    found = []
    for batch in batches:
        for images in torch.split(batch, AT_A_TIME):
            with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                found.append(network(images.to(device)).cpu())
    return torch.cat(found)
