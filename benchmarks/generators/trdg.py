"""trdg: black digits on white at the size of a plate, in its own Latin fonts."""

from collections.abc import Callable
from pathlib import Path

from trdg.data_generator import FakeTextDataGenerator
from trdg.utils import load_fonts


def load(variant: str) -> Callable[[Path, int], None]:
    """Its generator without skew, blur or distortion, which would only slow it down."""
    fonts = sorted(load_fonts("latin"))

    def draw(directory: Path, count: int) -> None:
        for index in range(count):
            FakeTextDataGenerator.generate(
                index,
                f"{index:05d}",
                fonts[index % len(fonts)],
                str(directory),
                64,
                "png",
                skewing_angle=0,
                random_skew=False,
                blur=0,
                random_blur=False,
                background_type=1,
                distorsion_type=0,
                distorsion_orientation=0,
                is_handwritten=False,
                name_format=0,
                width=128,
                alignment=1,
                text_color="#000000",
                orientation=0,
                space_width=1.0,
                character_spacing=0,
                margins=(20, 5, 20, 5),
                fit=True,
                output_mask=False,
                word_split=False,
                image_dir="",
                image_mode="L",
            )

    return draw
