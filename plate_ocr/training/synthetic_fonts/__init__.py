"""Plates in digit shapes that no font has, for training only.

`row.render_row` draws any source of digit shapes; `interpolation` and `handwriting` are such.
"""
