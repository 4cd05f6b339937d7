"""Train a linear head on the cached features, without a pass through the network: models/linear.safetensors.

dvc repro train_head
"""

from pathlib import Path

from stages.core import compute, curves, heads, params, runtime
from stages.core.backbones import Backbone, last_linear
from stages.core.features import Features
from stages.core.files import write_csv
from stages.core.heads import Head
from stages.core.models import Model


def main() -> None:
    options = params.load().train_head
    compute.settle()
    train, val = (Features.load(Path(f"data/features/{split}.safetensors")) for split in ("train", "val"))
    backbone = Backbone.load(Path("data/backbone.safetensors"))
    classes = len(train.classes)
    heads_so_far: list[Head] = []

    with curves.TrainingLog(Path("results/linear/training.csv"), say=options.solver == "sgd") as log:

        def record(head: Head) -> None:
            score = [curves.loss_and_accuracy(head(each.features[:, 0]), each.labels) for each in (train, val)]
            log.add(curves.Row.of(len(log.rows) + 1, train=score[0], val=score[1]))
            heads_so_far.append(head)

        data = (train.features, train.labels, classes)
        if options.solver == "logistic":
            strength, out_of_fold = heads.choose_strength(*data, options)
            weights = heads.weights_of_classes(train.labels, classes, options.class_weights)
            record(heads.untrained(classes, backbone.feature_width))
            head = heads.fit_logistic(*data, strength, class_weights=weights, on_iteration=record)
            chosen_on = "train"
            chosen = f"C = {strength:.3g}, by {options.folds}-fold cross-validation within train"
        else:
            out_of_fold = heads.out_of_fold(*data, options)
            heads.fit_sgd(*data, options, on_epoch=record)
            head = heads_so_far[log.kept(options.keep)]
            chosen = log.chosen(options.keep)
            chosen_on = curves.chosen_on(options.keep)

    network = backbone.classifier(classes)
    network.get_submodule(last_linear(network)).load_state_dict({"weight": head.weight, "bias": head.bias})
    Model(
        network=network,
        architecture=backbone.architecture,
        classes=train.classes,
        preprocessing=train.preprocessing,
        precision=train.precision,
        made_by={"stage": "train_head", "chosen": chosen, "chosen_on": chosen_on, **options.model_dump()},
    ).save(Path("models/linear.safetensors"))
    write_csv(
        Path("results/linear/out_of_fold.csv"),
        ("sha256", "label", *(f"p_{name}" for name in train.classes)),
        (
            (sha256, train.classes[label], *(f"{p:.6f}" for p in row))
            for sha256, label, row in zip(train.hashes(), train.labels, out_of_fold.tolist(), strict=True)
        ),
    )
    runtime.say(
        f"{options.solver}: {chosen}; out-of-fold accuracy {(out_of_fold.argmax(1) == train.labels).float().mean():.4f}"
    )


if __name__ == "__main__":
    runtime.run_stage(main)
