"""Train a linear head on the cached features, without a pass through the network: models/linear.safetensors.

dvc repro train_head
"""

from pathlib import Path

from penultimate import console, params
from penultimate.compute import devices
from penultimate.features.vectors import Features
from penultimate.files.text import write_csv
from penultimate.heads import linear, training
from penultimate.networks.backbone import Backbone
from penultimate.networks.model import Model
from penultimate.training.log import TrainingLog
from penultimate.training.losses import Score, loss_and_accuracy


def main() -> None:
    options = params.load().train_head
    devices.settle()
    train, val = (Features.load(Path(f"data/features/{split}.safetensors")) for split in ("train", "val"))
    backbone = Backbone.load(Path("data/backbone.safetensors"))
    classes = train.classes

    def measure(head: linear.Head) -> tuple[Score, Score]:
        on_train, on_val = (loss_and_accuracy(head(each.features[:, 0]), each.labels) for each in (train, val))
        return on_train, on_val

    with TrainingLog(Path("results/linear/training.csv"), say=options.solver == "sgd") as log:
        trained = training.train(
            train.features, train.labels, len(classes), options, groups=train.groups, log=log, measure=measure
        )

    layer = {f"{backbone.head}.weight": trained.head.weight, f"{backbone.head}.bias": trained.head.bias}
    Model(
        tensors=backbone.body | layer,
        architecture=backbone.architecture,
        head=backbone.head,
        classes=classes,
        preprocessing=train.preprocessing,
        precision=train.precision,
        made_by={
            "stage": "train_head",
            "weights": backbone.source,
            "chosen": trained.chosen,
            "chosen_on": trained.chosen_on,
            **options.model_dump(),
        },
    ).save(Path("models/linear.safetensors"))
    rows = zip(train.hashes(), train.labels, trained.out_of_fold.tolist(), strict=True)
    write_csv(
        Path("results/linear/out_of_fold.csv"),
        ("sha256", "label", *(f"p_{name}" for name in classes)),
        ((sha256, classes[label], *probabilities) for sha256, label, probabilities in rows),
    )
    accuracy = (trained.out_of_fold.argmax(1) == train.labels).float().mean()
    console.say(f"{options.solver}: {trained.chosen}; out-of-fold accuracy {accuracy:.4f}")


if __name__ == "__main__":
    console.run_stage(main, makes="models/linear.safetensors")
