"""The generators of the comparison: each returns `draw(directory, count)`, which writes PNG files.

Each runs in an environment of its own, so that each imports its packages itself.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

Draw = Callable[[Path, int], None]


def plate_ocr(variant: str) -> Draw:
    """Our generator, in one process."""
    from plate_ocr.plates.dataset import generate_dataset

    def draw(directory: Path, count: int) -> None:
        generate_dataset(directory, start=0, count=count, processes=1, progress=False)

    return draw


def pillow(variant: str) -> Draw:
    """A plain loop over Pillow that loads a font for every plate, in the Latin fonts of trdg."""
    from PIL import Image, ImageDraw, ImageFont

    fonts = sorted((Path(find_spec("trdg").origin).parent / "fonts" / "latin").glob("*.ttf"))

    def draw(directory: Path, count: int) -> None:
        for index in range(count):
            text = f"{index:05d}"
            font = ImageFont.truetype(str(fonts[index % len(fonts)]), 24)
            image = Image.new("L", (128, 64), 255)
            ImageDraw.Draw(image).text((20, 20), text, 0, font)
            image.save(directory / f"{text}.png")

    return draw


def trdg(variant: str) -> Draw:
    """trdg: black digits on white, without skew, blur or distortion, which would slow it down."""
    from trdg.data_generator import FakeTextDataGenerator
    from trdg.utils import load_fonts

    fonts = sorted(load_fonts("latin"))

    def draw(directory: Path, count: int) -> None:
        for index in range(count):
            font = fonts[index % len(fonts)]
            FakeTextDataGenerator.generate(
                index, f"{index:05d}", font, str(directory), 64, "png", width=128, fit=True,
                margins=(20, 5, 20, 5), alignment=1, text_color="#000000", background_type=1,
                skewing_angle=0, random_skew=False, blur=0, random_blur=False, distorsion_type=0,
                distorsion_orientation=0, is_handwritten=False, name_format=0, orientation=0,
                space_width=1.0, character_spacing=0, output_mask=False, word_split=False,
                image_dir="", image_mode="L",
            )  # fmt: skip

    return draw
