"""Test-time augmentation: views of a plate, and the text that is most probable over all of them.

The network reads a shifted or cropped view a little differently, and the mean over views is more
often correct (Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural
Networks"). `benchmarks/tta_ablation.py` measures what each view brings.
"""

import numpy as np
from PIL import Image, ImageFilter

from plate_ocr.plates.alphabet import encode
from plate_ocr.plates.images import border_pixels
from plate_ocr.plates.rendering import PLATE_HEIGHT, PLATE_WIDTH
from plate_ocr.reading import ctc
from plate_ocr.reading.backends import Backend, ModelOutput, x_affine

VIEWS = ("shifted", "cropped")
SHIFT = 2  # pixels up and to the left
TEXT_AREA = (0.8 * PLATE_WIDTH, 0.8 * PLATE_HEIGHT)  # that the digits may fill in the cropped view
MIN_CONTRAST = 20  # gray levels between background and ink


def make_views(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The views of every plate, uint8 (n, 64, 128, 1), in the order of `VIEWS`.

    Returns:
        Views, uint8 (2, n, 64, 128, 1), the cropped ones with dark digits on a light background;
        and scale and offset, float64 (2, n, 2): x_plate = scale * x_view + offset, in plate widths.
    """
    padding = ((0, 0), (0, SHIFT), (0, SHIFT))
    shifted = np.pad(images[..., 0], padding, mode="edge")[:, SHIFT:, SHIFT:]
    cropped, spans = zip(*map(crop_to_text, images[..., 0]), strict=True)
    affine = np.array([[(PLATE_WIDTH, SHIFT)] * len(images), spans]) / PLATE_WIDTH
    return np.stack([shifted, cropped])[..., None], affine


def text_bbox(plate: np.ndarray) -> tuple[int, int, int, int]:
    """The box of all that differs from the border of a plate, uint8 (64, 128), in pixels.

    Isolated pixels do not count. A plate with nothing on it gives the whole plate.
    """
    smooth = np.asarray(Image.fromarray(plate).filter(ImageFilter.MedianFilter(3)), np.int16)
    contrast = np.abs(smooth - np.median(border_pixels(plate)))
    ink = contrast > max(0.4 * np.quantile(contrast, 0.995), MIN_CONTRAST)
    return Image.fromarray(ink).getbbox() or (0, 0, PLATE_WIDTH, PLATE_HEIGHT)


def crop_to_text(plate: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """The text of a plate, uint8 (64, 128), as large as `TEXT_AREA` allows: dark on light.

    Returns:
        The view, uint8 (64, 128), and its width and left edge in pixels of the plate.
    """
    left, top, right, bottom = text_bbox(plate)
    text = plate[top:bottom, left:right]
    # The background is the lighter or darker half of the gray range, whichever has more pixels.
    light = text > (int(text.min()) + int(text.max())) // 2
    background = int(np.median(text[light == (2 * np.count_nonzero(light) > light.size)]))
    center = np.array([left + right, top + bottom]) / 2
    scale = min(TEXT_AREA[0] / (right - left), TEXT_AREA[1] / (bottom - top))
    half_size = np.array([PLATE_WIDTH, PLATE_HEIGHT]) / 2 / scale
    start, end = center - half_size, center + half_size
    pad = int(np.ceil(np.max((left, top) - start))) + 1
    padded = Image.fromarray(np.pad(text, pad, constant_values=background))
    shift = np.array([pad - left, pad - top])
    box = (*(start + shift), *(end + shift))
    view = padded.resize((PLATE_WIDTH, PLATE_HEIGHT), Image.Resampling.BILINEAR, box)
    view = np.asarray(view)
    return view if background >= 128 else 255 - view, (end[0] - start[0], start[0])


def merge_views(logits: np.ndarray, affine: np.ndarray, digits: int) -> ctc.Predictions:
    """For each plate, of the texts of all views, the one with the highest mean probability.

    Logits are (views, n, T, C), of the original plates first; affine, (views, n, 2), is scale and
    offset from view to plate. Digits are as the most confident view with the text has them.
    """
    views = [ctc.decode_logits(view, digits) for view in logits]
    labels = [encode(view.texts, digits) for view in views]
    probabilities = [  # of each view's text in each view: (view, view of the text, n)
        [ctc.text_probability(view, label) for label in labels] for view in ctc.softmax(logits)
    ]
    mean = np.mean(probabilities, axis=0)
    texts, own_probability, confidence, position = (
        np.stack([getattr(view, field) for view in views])
        for field in ("texts", "text_probability", "digit_confidence", "digit_position")
    )
    rows, best = np.arange(len(mean[0])), mean.argmax(axis=0)
    chosen = texts[best, rows]
    source = np.where(texts == chosen, own_probability, -1).argmax(axis=0)
    return ctc.Predictions(
        texts=chosen.tolist(),
        greedy_texts=views[0].greedy_texts,
        digit_confidence=confidence[source, rows],
        digit_position=position[source, rows],
        text_probability=mean[best, rows],
    ).to_image_coordinates(affine[source, rows])


def decode_with_views(
    backend: Backend, images: np.ndarray, output: ModelOutput, digits: int
) -> ctc.Predictions:
    """Decode plates, uint8 (n, 64, 128, 1), from their `output` and from their views."""
    views, to_plate = make_views(images)
    view_output = backend(views.reshape(-1, *images.shape[1:]))
    logits = view_output.logits.reshape(len(views), *output.logits.shape)
    affine = x_affine(view_output.crop).reshape(to_plate.shape) * to_plate[..., :1]  # crop to plate
    affine[..., 1] += to_plate[..., 1]
    return merge_views(
        np.concatenate([output.logits[None], logits]),
        np.concatenate([x_affine(output.crop)[None], affine]),
        digits,
    )
