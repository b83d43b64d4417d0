"""The shared trainer: checkpoints, ranks, signals, logs."""
