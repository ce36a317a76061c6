"""Digits in shapes that no font has."""
