"""Helpers do not change the network that they are given."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penultimate.extraction import engines
from penultimate.networks import inference
from penultimate.networks.architectures import architecture
from penultimate.networks.head import last_linear, with_shared_weights, without_head
from penultimate.networks.model import Model
from penultimate.networks.preprocessing import Preprocessing

FEEDING = Preprocessing(32, None, (0.5,) * 3, (0.5,) * 3)
CPU = torch.device("cpu")
VIEWS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
PIXELS = FEEDING.normalise(torch.from_numpy(VIEWS)).contiguous()


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    tensors = architecture("shufflenet_v2_x0_5").build(3).state_dict()
    made_by = {"stage": "finetune", "chosen": "a", "chosen_on": "val"}
    return Model(tensors, "shufflenet_v2_x0_5", "fc", ["a", "b", "c"], FEEDING, "float32", made_by)


def state(network: nn.Module) -> list[object]:
    """All that a helper may have changed."""
    return [
        [(name, type(module), module.training, "forward" in vars(module)) for name, module in network.named_modules()],
        [(name, id(p), p.data_ptr(), p.stride(), p.device, p.requires_grad) for name, p in network.named_parameters()],
        [(name, b.data_ptr(), b.device) for name, b in network.named_buffers()],
    ]


def passed(network: nn.Module) -> Tensor:
    return torch.cat(list(inference.outputs(network, [VIEWS], preprocessing=FEEDING, precision="float32", device=CPU)))


def extracted(name: engines.Name) -> Callable[[nn.Module], Tensor]:
    return lambda network: torch.cat(list(engines.Engine(name, "float32", CPU).frozen(network, FEEDING)([VIEWS])))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "use",
    [
        without_head,
        passed,
        extracted("torch"),
        extracted("openvino"),
        lambda network: passed(without_head(network)),
        lambda network: with_shared_weights(network).half().to("meta").requires_grad_(False),
    ],
)
def test_a_model_is_the_same_after_its_use(model: Model, use: Callable[[nn.Module], object], training: bool) -> None:
    network = model.network
    with torch.inference_mode():
        logits = network(PIXELS)
    network.train(training)
    before = state(network)
    use(network)
    assert state(network) == before
    with torch.inference_mode():
        assert torch.equal(network.eval()(PIXELS), logits)
    assert last_linear(network) == "fc"


def test_what_is_left_of_a_network_without_its_head_gives_its_features(model: Model) -> None:
    with torch.inference_mode():
        for _ in range(2):
            assert torch.allclose(model.logits(without_head(model.network)(PIXELS)), model.network(PIXELS), atol=1e-5)


def test_a_copy_shares_the_memory(model: Model) -> None:
    copied = with_shared_weights(model.network)
    for mine, its in zip(model.network.state_dict().values(), copied.state_dict().values(), strict=True):
        assert mine.data_ptr() == its.data_ptr()
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    again = with_shared_weights(tied)
    assert again[1].weight is again[0].weight  # type: ignore[index]
