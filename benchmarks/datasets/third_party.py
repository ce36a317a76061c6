"""Plates drawn by third-party packages; runs by its path in an environment that has them.

$ python third_party.py trdg|captcha SEED OUTPUT.npz TEXT...
"""

import random
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 64, 128


class SeededSecrets(random.Random):
    """The part of the module `secrets` that captcha uses, with a seed."""

    randbelow = random.Random.randrange
    randbits = random.Random.getrandbits


def draw_captchas(texts: list[str], seed: int) -> tuple[list[Image.Image], list[str]]:
    """Images of the package captcha, and their fonts."""
    from captcha import image

    image.secrets = SeededSecrets(seed)
    generator = image.ImageCaptcha(width=WIDTH, height=HEIGHT)
    images = [generator.generate_image(text).convert("L") for text in texts]
    return images, ["DroidSansMono"] * len(texts)


def draw_trdg(texts: list[str], seed: int) -> tuple[list[Image.Image], list[str]]:
    """Images of trdg on its own white or noisy backgrounds, and their fonts."""
    from trdg.utils import load_fonts

    paths = sorted(load_fonts("latin"))
    chosen = [paths[index % len(paths)] for index in range(len(texts))]
    pairs = enumerate(zip(texts, chosen, strict=True))
    images = [draw_trdg_plate(text, path, seed, index) for index, (text, path) in pairs]
    return images, [Path(path).stem for path in chosen]


def draw_trdg_plate(text: str, font: str, seed: int, index: int) -> Image.Image:
    """One plate; digits too wide for it are drawn lower, in proportion."""
    from trdg.data_generator import FakeTextDataGenerator

    rng = random.Random(f"{seed} {index}")
    height = rng.randint(18, 36)
    skew, blur, background = rng.randint(0, 3), rng.uniform(0, 0.8), rng.randint(0, 1)

    def draw(height: int, width: int) -> Image.Image:
        random.seed(f"{seed} {index}")
        cv2.setRNGSeed(seed + index)
        margin = (HEIGHT - height) // 2
        # The space leaves room for the overhang of slanted digits; `fit` removes the rest of it.
        return FakeTextDataGenerator.generate(
            index, text + " ", font, None, HEIGHT, None, skew, True, blur, False, background,
            0, 0, False, 0, width, 1, "#282828", 0, 1.0, 0,
            (margin, 0, HEIGHT - height - margin, 0), True, False, False, "",
            image_mode="L",
        )  # fmt: skip

    natural_width = draw(height, -1).size[0]
    if natural_width > WIDTH - 4:
        height = int(height * (WIDTH - 4) / natural_width)
    return draw(height, WIDTH)


def main() -> None:
    """Draw what the command line asks for."""
    generator, seed, output, *texts = sys.argv[1:]
    draw = {"trdg": draw_trdg, "captcha": draw_captchas}[generator]
    images, fonts = draw(texts, int(seed))
    np.savez(output, images=np.stack([np.asarray(image) for image in images]), fonts=fonts)


if __name__ == "__main__":
    main()
