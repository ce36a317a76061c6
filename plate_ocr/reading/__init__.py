"""Weights and an image -> text and confidence, without Keras."""
