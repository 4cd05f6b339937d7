import numpy as np
import pytest
import torch
import torchvision.models as zoo
from torch import nn

from penultimate.explanation import gradcam, projection
from penultimate.explanation.neighbours import nearest


def test_heat_lies_where_a_network_looks() -> None:
    seen, head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 2)
    with torch.no_grad():
        for values in (*seen.parameters(), *head.parameters()):
            values.zero_()
        seen.weight[0, 0, 1, 1] = 1  # the first channel is red
        head.weight[1, 0] = 1  # and class 1 is where there is red
    network = nn.Sequential(seen, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    pixels = torch.zeros(1, 3, 16, 16)
    pixels[0, 0, 3:6, 9:12] = 1
    heat = gradcam.grad_cam(network.eval(), pixels, torch.tensor([1]))
    assert heat is not None
    assert torch.equal(heat[0] > 0, pixels[0, 0] > 0)
    assert heat.max() == 1


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5", "efficientnet_b0", "swin_t", "vit_b_32"])
def test_networks_that_keep_places_have_heat_of_the_size_of_the_picture(name: str) -> None:
    torch.manual_seed(0)
    network = zoo.get_model(name, num_classes=3).eval()
    heat = gradcam.grad_cam(network, torch.randn(2, 3, 224, 224), torch.tensor([0, 2]))
    if name.startswith("vit"):
        assert heat is None
    else:
        assert heat is not None
        assert heat.shape == (2, 224, 224)
        assert heat.isfinite().all()
    assert not any(module._forward_hooks for module in network.modules())


def test_neighbours_are_the_most_alike_whatever_their_length() -> None:
    among = torch.tensor([[1.0, 0.0], [0.0, 5.0], [3.0, 3.0]])
    assert nearest(torch.tensor([[9.0, 1.0], [0.1, 0.2]]), among, 2).tolist() == [[0, 2], [2, 1]]
    assert nearest(torch.tensor([[9.0, 1.0]]), among, 9).shape == (1, 3)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 60])
def test_a_map_of_few_and_of_many(count: int) -> None:
    features = torch.randn(count, 7, generator=torch.Generator().manual_seed(0))
    features[: count // 2] += 20
    points = projection.flat_map(features)
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert np.array_equal(points, projection.flat_map(features))
    if count == 60:
        one, other = points[:30], points[30:]
        assert np.linalg.norm(one.mean(0) - other.mean(0)) > max(one.std(), other.std())
