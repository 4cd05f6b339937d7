"""Which device is taken; and float32 means float32, on every one."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from penultimate.compute import devices
from penultimate.compute.precision import arithmetic, depthwise_in_float32
from penultimate.errors import UserError

READ_BACK = """
import warnings
import torch
warnings.simplefilter("error")
assert torch.backends.cudnn.conv.fp32_precision == "tf32", "torch's default has changed"
torch.set_float32_matmul_precision("high")  # as a user's own code may have it
from penultimate.compute import devices
for _ in range(2):
    devices.settle()
    backends = torch.backends
    for each in (backends, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul,
                 backends.mkldnn.conv, backends.mkldnn.matmul):
        assert each.fp32_precision == "ieee", each
    assert torch.get_float32_matmul_precision() == "highest"
    assert not backends.cudnn.allow_tf32 and not backends.cuda.matmul.allow_tf32  # who asks so is answered too
    with backends.cudnn.flags(enabled=True):
        pass
"""


def test_float32_is_not_rounded_to_tf32() -> None:
    subprocess.run([sys.executable, "-c", READ_BACK], check=True)  # the settings are the process's


def test_depthwise_convolutions_are_as_before_after_the_block() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3))
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    seen: list[torch.dtype] = []

    class Watched(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func is torch.conv2d and args[6] == 4:
                seen.append(args[0].dtype)
            return func(*args, **(kwargs or {}))

    with arithmetic("bfloat16", torch.device("cpu")):
        before = network(x)
        with Watched(), depthwise_in_float32(network):
            within = network(x)
        with pytest.raises(ZeroDivisionError), depthwise_in_float32(network):
            raise ZeroDivisionError
        assert torch.equal(network(x), before)
    assert not any("forward" in vars(module) for module in network.modules())
    assert seen == [torch.float32]
    torch.testing.assert_close(within, before, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("cuda", "not available here"),
        ("cuda:3", "not available here"),
        ("gpu", "no such device"),
        ("meta", "no such device"),  # torch takes it, and computes nothing
        ("cpu:x", "Invalid device string: 'cpu:x'"),
    ],
)
def test_a_device_that_is_not_there_is_told_by_what_is(
    wanted: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENULTIMATE_DEVICE", wanted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError) as error:
        devices.device()
    assert str(error.value) == f"environment variable PENULTIMATE_DEVICE={wanted}: {reason}; there is: cpu"
