"""The life of a run on a disk: configuration, record, folder, checkpoints, saved model."""
