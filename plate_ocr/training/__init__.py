"""Drawn plates -> weights."""

import os

# Without AVX-512, TensorFlow leaves oneDNN off, although training then takes 1.6 times as long.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
