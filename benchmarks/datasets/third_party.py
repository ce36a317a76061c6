"""Plates drawn by other people's packages; runs under an interpreter that has them.

$ python strangers.py trdg|captcha SEED TEXTS OUTPUT.npz
"""

import random
import sys
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 64, 128


class SeededSecrets(random.Random):
    """The part of the module `secrets` that captcha draws from, with a seed."""

    randbelow = random.Random.randrange
    randbits = random.Random.getrandbits


def draw_captchas(texts: list[str], seed: int) -> tuple[list, list[str]]:
    """The package's own image at the size of a plate."""
    from captcha import image

    image.secrets = SeededSecrets(seed)
    painter = image.ImageCaptcha(width=WIDTH, height=HEIGHT)
    images = [painter.generate_image(text).convert("L") for text in texts]
    return images, ["DroidSansMono"] * len(texts)


def draw_trdg(texts: list[str], seed: int) -> tuple[list, list[str]]:
    """Text of trdg's own fonts, centred on its own white or noisy background."""
    from trdg.data_generator import FakeTextDataGenerator
    from trdg.utils import load_fonts

    paths = sorted(load_fonts("latin"))
    images, fonts = [], []
    for index, text in enumerate(texts):
        chance = random.Random(f"{seed} {index}")
        path = paths[index % len(paths)]
        height = chance.randint(18, 36)
        skew, blur, background = chance.randint(0, 3), chance.uniform(0, 0.8), chance.randint(0, 1)

        def draw(height, width, text=text, path=path, index=index, how=(skew, blur, background)):
            random.seed(f"{seed} {index}")
            cv2.setRNGSeed(seed + index)
            margin = (HEIGHT - height) // 2
            # The space makes room for the overhang of slanted digits; `fit` takes the rest away.
            return FakeTextDataGenerator.generate(
                index, text + " ", path, None, HEIGHT, None, how[0], True, how[1], False, how[2],
                0, 0, False, 0, width, 1, "#282828", 0, 1.0, 0,
                (margin, 0, HEIGHT - height - margin, 0), True, False, False, "",
                image_mode="L",
            )  # fmt: skip

        # Drawn once as wide as it likes; what is too wide is drawn lower, in proportion.
        natural = draw(height, -1).size[0]
        if natural > WIDTH - 4:
            height = int(height * (WIDTH - 4) / natural)
        images.append(draw(height, WIDTH))
        fonts.append(Path(path).stem)
    return images, fonts


def main() -> None:
    """Draw what the command line asks for."""
    generator, seed, texts, output = sys.argv[1:]
    draw = {"trdg": draw_trdg, "captcha": draw_captchas}[generator]
    images, fonts = draw(Path(texts).read_text(encoding="ascii").split(), int(seed))
    np.savez(output, images=np.stack([np.asarray(image) for image in images]), fonts=fonts)


if __name__ == "__main__":
    main()
