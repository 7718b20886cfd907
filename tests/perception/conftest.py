"""Images that a classifier learns in a second."""

import pytest


@pytest.fixture
def stripes():
    """Makes images [N, C, H, W] in [-1, 1] and labels [N]: upright stripes are class 0, flat ones class 1."""

    def make(count=64, size=(1, 12, 16), seed=0):
        import torch

        random = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 2
        phase = torch.randint(0, 4, (count, 1, 1, 1), generator=random)
        rows, columns = torch.arange(size[1])[:, None], torch.arange(size[2])
        along = torch.where(labels.bool()[:, None, None, None], rows, columns)
        images = torch.where((along + phase) % 4 < 2, 0.8, -0.8).expand(count, *size)
        return images + 0.1 * torch.randn(count, *size, generator=random), labels

    return make
