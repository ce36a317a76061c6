"""The code that drew `data/benchmark/`; nothing of it is shared with the training."""
