"""One module a generator: `load(variant)` returns `draw(directory, count)`, which writes PNGs."""
