"""Modules in PyTorch that use what the importer reads. Needs torch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, n: int, m: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n, m, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(m, eps=0.01, momentum=0.2)
        self.conv2 = nn.Conv2d(m, m, 3, padding="same", groups=m)
        self.norm2 = nn.BatchNorm2d(m)
        self.skip = (nn.Sequential(nn.Conv2d(n, m, 1, stride), nn.BatchNorm2d(m))
                     if stride > 1 else nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        y += self.skip(x)
        return torch.relu(y)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU6(), nn.MaxPool2d(3, 2, 1))
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(32 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.stem(x))
        x = torch.cat([x, functional.max_pool2d(x, 3, 1, 1)], 1)
        x = functional.max_pool2d(x, 2)
        return functional.log_softmax(self.fc(self.drop(x.view(x.size(0), -1))), dim=1)


class Fire(nn.Module):
    def __init__(self, n: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(n, squeezed, 1)
        self.one = nn.Conv2d(squeezed, expanded, 1)
        self.three = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.squeeze(x))
        return torch.cat([functional.relu(self.one(x)), functional.relu(self.three(x))], 1)


class Concatenated(nn.Module):
    """SqueezeNet's and DenseNet's habits: Fire, pooling behind it, lists of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.fires = nn.Sequential(Fire(3, 4, 8), nn.MaxPool2d(2), Fire(16, 4, 4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + 4 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(8 + 4 * i, 4, 3, padding=1, bias=False)
                                   for i in range(3))
        self.fc = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.fires(x)]
        for norm, conv in zip(self.norms, self.convs):
            maps.append(conv(functional.relu(norm(torch.cat(maps, dim=1)))))
        return self.fc(torch.concatenate(maps, 1).mean((2, 3)))


class Plain(nn.Module):
    """What small classifiers are made of, ends in a vector by mean."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3),
            nn.Hardtanh(0, 6), nn.AvgPool2d(2, padding=1), nn.AdaptiveAvgPool2d((3, 3)))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(72, 16), nn.BatchNorm1d(16),
                                  nn.ReLU(), nn.Linear(16, 4, bias=False), nn.Softmax(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))
