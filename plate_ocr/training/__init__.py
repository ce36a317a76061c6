"""Drawn plates -> weights."""
