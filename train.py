"""Train one run, or several with -m.

python train.py                                             # the embedded digits, in a minute or two on a CPU
python train.py experiment=cifar100/smoothmix_c dataset.root=data
python train.py -m mixing=identity,cutmix,smoothmix_c seed=0,1,2 model=pyramidnet20 dataset=cifar100 recipe=short_cifar
"""

import signal


def main(composed):
    """Compose, build, train, and write the run's record; return its directory."""
    from dataclasses import replace

    import torch

    from smoothmix.config import build
    from smoothmix.config import run_directory as run_dir
    from smoothmix.config.schema import check
    from smoothmix.training.log import closing_line
    from smoothmix.training.trainer import Trainer
    from smoothmix.utils.distributed import init_distributed

    config = check(composed)
    run_dir.check_names(config)
    ranks = init_distributed(config.device, config.timeout)
    data = build.dataset(config)
    config = replace(config, recipe=config.recipe.fitted(data.sizes.get("train", 1)))
    directory, recipe = run_dir.run_directory(config), config.recipe
    if ranks.any(run_dir.is_finished(directory, data.fingerprint)):
        if ranks.is_main:
            print(f"{directory} is finished; delete it to train again")
        return directory
    generator = torch.Generator(ranks.device)
    network = build.model(config, data.num_classes, data.image_size)
    mixing = build.mixing(config, data.num_classes, generator, network)
    trainer = Trainer(network, mixing, data, recipe, config, directory, ranks, generator, config.to_dict())
    if ranks.is_main:
        lock = run_dir.lock(directory, config)
        print(f"run directory: {directory}")
        print(trainer.describe())
        if recipe.decay_epochs and recipe.learning_rate(recipe.epochs - 1) == recipe.lr:
            print(f"note: the learning rate never decays: recipe.decay_epochs={recipe.decay_epochs} are not reached")
    trainer.fit()
    if ranks.is_main:
        record, path = trainer.record(run_dir.config_hash(config)), directory / "summary.json"
        record.write(path)
        lock.close()
        print(closing_line(record, path, data.num_classes))
    return directory


def compare(directories):
    """Print the comparison of a sweep's runs, on rank 0."""
    from smoothmix.reporting.frames import read_folders
    from smoothmix.reporting.report import comparison
    from smoothmix.utils.distributed import of_torchrun

    if of_torchrun("RANK", 0) == 0:
        print(comparison(read_folders(directories)))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback
    from smoothmix.config.command_line import command

    command("train", main, after_sweep=compare)
