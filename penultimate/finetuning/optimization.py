"""The optimizer and its learning rate over all steps."""

from torch import nn
from torch.optim import SGD, AdamW, Optimizer, lr_scheduler

from penultimate.networks.head import last_linear
from penultimate.params import Finetune

FIRST_LR_DIVISOR = 25.0  # one-cycle and warm-up begin at the peak learning rate divided by this


def optimizer_of(network: nn.Module, options: Finetune) -> Optimizer:
    """The optimizer: the head learns `head_lr_factor` times faster; only weights of two or more dimensions decay."""
    head = last_linear(network) + "."
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((name.startswith(head), parameter.ndim > 1), []).append(parameter)
    settings = [
        {
            "params": parameters,
            "lr": options.lr * (options.head_lr_factor if in_head else 1.0),
            "weight_decay": options.weight_decay if decays else 0.0,
        }
        for (in_head, decays), parameters in groups.items()
    ]
    if options.optimizer == "sgd":
        return SGD(settings, lr=options.lr, momentum=options.momentum, fused=True)
    return AdamW(settings, lr=options.lr, fused=True)


def schedule_of(optimizer: Optimizer, options: Finetune, steps_per_epoch: int) -> lr_scheduler.LRScheduler:
    """The learning rate over all steps, by torch's own schedules. Momentum stays as it is."""
    steps = options.epochs * steps_per_epoch
    warmup = min(round(options.warmup_epochs * steps_per_epoch), steps - 1)
    if options.schedule == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(
            optimizer,
            peaks,
            total_steps=steps + 1,
            pct_start=max(warmup, 1) / steps,
            div_factor=FIRST_LR_DIVISOR,
            cycle_momentum=False,
        )
    after: lr_scheduler.LRScheduler = (
        lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup)
        if options.schedule == "cosine"
        else lr_scheduler.StepLR(optimizer, options.step_epochs * steps_per_epoch, options.step_factor)
    )
    if not warmup:
        return after
    rise = lr_scheduler.LinearLR(optimizer, 1 / FIRST_LR_DIVISOR, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, after], [warmup])
