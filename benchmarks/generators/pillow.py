"""A plain loop over Pillow that loads a font for every plate, in the Latin fonts of trdg."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont


def load(variant: str) -> Callable[[Path, int], None]:
    """The loop that comes to mind first."""
    fonts = sorted((Path(find_spec("trdg").origin).parent / "fonts" / "latin").glob("*.ttf"))

    def draw(directory: Path, count: int) -> None:
        for index in range(count):
            text = f"{index:05d}"
            font = ImageFont.truetype(str(fonts[index % len(fonts)]), 24)
            image = Image.new("L", (128, 64), 255)
            ImageDraw.Draw(image).text((20, 20), text, 0, font)
            image.save(directory / f"{text}.png")

    return draw
