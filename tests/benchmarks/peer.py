"""The tutorial's two recipes, as a plain user writes them: what we are compared with.

ImageFolder, PIL transforms, a DataLoader with workers, batches of 4, float32, SGD 0.001 with momentum 0.9; the whole
network or its new head alone is trained; every epoch passes train and val through the network.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def loaders(folder: Path) -> dict[str, DataLoader[tuple[torch.Tensor, torch.Tensor]]]:
    to_network = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    views = {
        "train": [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), *to_network],
        "val": [transforms.Resize(256), transforms.CenterCrop(224), *to_network],
    }
    return {
        split: DataLoader(
            datasets.ImageFolder(str(folder / split), transforms.Compose(steps)),
            batch_size=4,
            shuffle=True,
            num_workers=min(4, os.cpu_count() or 1),
        )
        for split, steps in views.items()
    }


def epochs(network: nn.Module, folder: Path, device: torch.device, *, frozen: bool) -> Iterator[float]:
    """Train on, without end: the seconds of every epoch. `network` ends in a new linear layer named by its last module.

    frozen: only that layer learns.
    """
    network = network.to(device)
    head = [module for module in network.modules() if not list(module.children())][-1]
    if frozen:
        for parameter in network.parameters():
            parameter.requires_grad = False
        for parameter in head.parameters():
            parameter.requires_grad = True
    learning = head if frozen else network
    optimizer = torch.optim.SGD(learning.parameters(), lr=0.001, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    data = loaders(folder)
    while True:
        started = time.perf_counter()
        for phase in ("train", "val"):
            network.train(phase == "train")
            running_loss, running_corrects = 0.0, 0
            for batch, truth in data[phase]:
                inputs, labels = batch.to(device), truth.to(device)
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = network(inputs)
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running_loss += loss.item() * len(inputs)
                running_corrects += int((outputs.argmax(1) == labels).sum())
        yield time.perf_counter() - started
