"""The demo app: plate -> crop -> CTC posteriors -> text; `make app`, or a Hugging Face Space."""

import base64
import threading
from html import escape
from io import BytesIO
from pathlib import Path

import gradio as gr
import numpy as np
from PIL import Image, ImageFilter
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plate_ocr import PlateReader, Reading
from plate_ocr.evaluation import plots
from plate_ocr.plates.alphabet import NUM_DIGITS, is_valid_label
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.plates.images import SUFFIXES, load_plate
from plate_ocr.plates.rendering import MARGIN, MIN_SPACING, compose_plate, free_space, render_glyphs
from plate_ocr.reading.ctc import softmax
from plate_ocr.reading.reader import decode_output, to_readings

MAX_FILE_BYTES = 5_000_000
MAX_REQUEST_BYTES = MAX_FILE_BYTES * 4 // 3 + 10_000  # the file in base64, and the event around it
MAX_PIXELS = 4_000_000
EXAMPLES = sorted((Path(__file__).parent / "data" / "test").glob("*.png"))[::12]
FONTS = {font.family: font for font in load_fonts()}
NUM_WEIGHTS = 24  # steps of the slider from light to heavy
READER = PlateReader(backend="onnx")
PYPLOT_LOCK = threading.Lock()  # Matplotlib's pyplot is not thread-safe
plots.plt.switch_backend("Agg")  # figures are made in threads, where no window may open

Outputs = tuple[str | None, str, str]  # image of the frame as a data URL; HTML of reading and steps


def limit_request_size(app: ASGIApp) -> ASGIApp:
    """ASGI middleware: a request with too large a body gets status 413.

    Gradio's `max_file_size` limits uploads, but pictures arrive here inside events. Bytes are
    counted as they arrive, because a request need not say how many follow.
    """

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        received = 0

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_REQUEST_BYTES:
                raise HTTPException(413)
            return message

        await app(scope, limited_receive, send)

    return limited


def draw_plate(
    number: str, family: str, weight: int, size: int, spacing: int,
    rotation: float, blur: float, noise: float,
) -> np.ndarray:  # fmt: skip
    """Draw a plate, uint8 (64, 128), with the digits in its middle.

    The arguments are the settings of the app; the unit of each is on its label. A `ValueError`
    says that the number is not five digits or does not fit.
    """
    if not is_valid_label(number):
        raise ValueError("A plate has exactly five digits.")
    instances = sorted(FONTS[family].instances, key=lambda axes: dict(axes).get("wght", 0))
    instance = instances[round((weight - 1) / (NUM_WEIGHTS - 1) * (len(instances) - 1))]
    digit_glyphs = render_glyphs(FONTS[family].path, instance, size)
    glyphs = [digit_glyphs[int(digit)] for digit in number]
    columns, rows = free_space(glyphs, spacing)
    if columns < 0 or rows < 0:
        raise ValueError("This does not fit on the plate: choose a smaller size or spacing.")
    plate = compose_plate(glyphs, spacing, MARGIN + columns // 2, MARGIN + rows // 2)
    image = Image.fromarray(plate).rotate(rotation, Image.Resampling.BICUBIC, fillcolor=255)
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), dtype=float)
    # The same noise at every call: moving another slider must not change it.
    noisy = blurred + np.random.default_rng(0).normal(0, noise, plate.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def read_plate(plate: np.ndarray, min_confidence: float) -> Outputs:
    """Read a plate, uint8 (64, 128), and show how the network came to the text."""
    output = READER.forward(plate[None, :, :, None])
    (reading,) = to_readings(decode_output(output, READER.digits), READER.calibration)
    with PYPLOT_LOCK:
        figure = plots.ctc_posteriors(
            plate, softmax(output.logits)[0], title="", digits=reading.digits, crop=output.crop[0]
        )
        figure.set_size_inches(5, 4.2)  # labels large enough on a phone
        figure.savefig(steps := BytesIO(), dpi=200)
        plots.plt.close(figure)
    Image.fromarray(plate).save(image := BytesIO(), "PNG")
    posteriors = f'<img src="{data_url(steps.getvalue())}" alt="CTC posteriors">'
    return data_url(image.getvalue()), reading_html(reading, min_confidence), posteriors


def data_url(png: bytes) -> str:
    """A PNG file as a URL that browsers show."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def reading_html(reading: Reading, min_confidence: float) -> str:
    """Five digits with their probabilities, the confidence, and whether that is enough."""
    digits = "".join(
        f'<li><b>{digit.digit}</b><hr style="width: {digit.confidence:.0%}">'
        f"{min(digit.confidence, 0.999):.1%}</li>"
        for digit in reading.digits
    )
    verdict = "rejected" if reading.confidence < min_confidence else "accepted"
    return (
        f'<div class="{verdict}"><ol>{digits}</ol><p><strong>{verdict.title()}:</strong> '
        f"confidence {min(reading.confidence, 0.999):.1%}, threshold {min_confidence:.0%}.</p>"
        "<p>The confidence is P(text), the probability of these five digits under CTC. Below "
        "each digit stands its posterior at its time step, which is not calibrated.</p></div>"
    )


def message(text: object) -> Outputs:
    """The outputs if there is nothing to read: why."""
    return None, f'<p class="message">{escape(str(text))}</p>', ""


def on_image(url: str | None, min_confidence: float) -> Outputs:
    """Read an image that arrives as a data URL."""
    if not url:
        return message("Nothing to read yet.")
    try:
        plate = load_plate(base64.b64decode(url.partition(",")[2]), max_pixels=MAX_PIXELS)
    except ValueError as error:
        return message(f"This file cannot be read. {error}")
    return read_plate(plate, min_confidence)


def on_canvas(url: str | None, min_confidence: float) -> tuple[str, str]:
    """Read what was drawn, or read again with another threshold; the frame stays as it is."""
    return on_image(url, min_confidence)[1:]


def on_sliders(min_confidence: float, *settings: str | float) -> Outputs:
    """Draw a plate and read it."""
    try:
        plate = draw_plate(*settings)
    except ValueError as error:
        return message(error)
    return read_plate(plate, min_confidence)


THUMBNAILS = "".join(
    f'<button><img src="{data_url(path.read_bytes())}" alt="{path.stem}"></button>'
    for path in EXAMPLES
)
FRAME = f"""
<canvas width="512" height="256" role="img" aria-label="the plate"></canvas>
<p></p>
<div class="tools">
  <label>Choose a picture<input type="file" accept="{",".join(sorted(SUFFIXES))}"></label>
  <button>Clear</button>
</div>
<div class="examples">{THUMBNAILS}</div>
"""
FRAME_STYLE = """
canvas { width: 100%; border: 1px solid #888; border-radius: 6px; background: white;
  cursor: crosshair; touch-action: none; }
p { margin: 4px 0 8px; }
div { display: flex; gap: 8px; margin: 0 0 8px; }
label, button { flex: 1; margin: 0; padding: 8px; border-radius: 6px; text-align: center;
  font: inherit; cursor: pointer; background: none; border: 1px solid var(--border-color-primary); }
.examples button { padding: 0; border: 0; }
img { width: 100%; margin: 0; border: 1px solid #bbb; border-radius: 4px; box-shadow: none; }
label:focus-within, button:focus-visible { outline: 2px solid #0072B2; }
input { position: absolute; width: 1px; opacity: 0; }
"""
FRAME_SCRIPT = """
const canvas = element.querySelector('canvas'), pen = canvas.getContext('2d');
const line = element.querySelector('p'), input = element.querySelector('input');
const say = text => { line.textContent = text; };  // never HTML: it may be the name of a file
const hint = () => say('Drop, paste or choose a picture of a plate, or draw five digits here.');
const clear = () => { pen.fillStyle = 'white'; pen.fillRect(0, 0, canvas.width, canvas.height); };
const send = (event, picture) => { props.value = picture; trigger(event); };
const refuse = text => { say(text); clear(); send('input', null); };
const take = files => {
  if (files.length === 0) return;
  const file = files[0], content = new FileReader();
  if (files.length > 1) return refuse('One picture at a time, please.');
  if (file.size > MAX_BYTES) return refuse(`${file.name} is larger than ${MAX_BYTES / 1e6} MB.`);
  say(file.name);
  content.onload = () => send('upload', content.result);
  content.readAsDataURL(file);
};
watch('value', () => {
  clear();
  if (!props.value) return;
  hint();
  const image = new Image();
  image.onload = () => pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.src = props.value;
});
input.onchange = () => { take(input.files); input.value = ''; };
document.addEventListener('paste', event => take(event.clipboardData.files));
element.ondragover = event => event.preventDefault();
element.ondrop = event => { event.preventDefault(); take(event.dataTransfer.files); };
element.querySelector('.tools button').onclick = () => { hint(); clear(); send('input', null); };
element.querySelectorAll('.examples button').forEach(button => {
  button.onclick = () => send('upload', button.firstChild.src);
});
const at = event => [event.offsetX, event.offsetY].map(v => v * canvas.width / canvas.clientWidth);
const stroke = event => { pen.lineTo(...at(event)); pen.stroke(); };
canvas.onpointerdown = event => {
  canvas.setPointerCapture(event.pointerId);
  Object.assign(pen, {lineWidth: 14, lineCap: 'round', lineJoin: 'round'});
  pen.beginPath();
  stroke(event);
  canvas.onpointermove = stroke;
};
canvas.onpointerup = canvas.onpointercancel = () => {
  canvas.onpointermove = null;
  send('input', canvas.toDataURL());
};
clear();
hint();
""".replace("MAX_BYTES", str(MAX_FILE_BYTES))

STYLE = """
.html-container { padding: 0 !important; }
.answer ol { display: flex; gap: 8px; margin: 0 0 12px; padding: 0; list-style: none; }
.answer li { flex: 1; min-width: 0; margin: 0; text-align: center; white-space: nowrap;
  font-size: clamp(0.75rem, 3vw, 1rem); }
.answer b { display: block; font-size: clamp(4rem, 9vw, 7rem); line-height: 1.1; }
.answer hr { height: 6px; margin: 0 0 4px; border: 0; background: #0072B2; }
.answer .rejected b { opacity: 0.35; }
.answer .rejected strong { color: #D55E00; }
.answer .accepted strong { color: #009E73; }
.answer .message { margin: 24px 0; font-size: 1.25rem; }
.pairs .form { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); }
@media (min-width: 768px) {
  .parts { display: grid; grid-template: auto auto 1fr / 1fr 1fr; column-gap: 24px; }
  .parts > :nth-child(1) { grid-area: 1 / 1 / 3; }
  .parts > :nth-child(2) { grid-area: 1 / 2; }
  .parts > :nth-child(3) { grid-area: 3 / 1; }
  .parts > :nth-child(4) { grid-area: 2 / 2 / 4; }
}
"""
SYSTEM_FONTS = ["Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]  # none is fetched

with gr.Blocks(title="Plate OCR", analytics_enabled=False) as page:
    gr.Markdown("# Plate OCR\nReads the five digits of a synthetic number plate.")
    with gr.Column(elem_classes="parts"):
        with gr.Column():
            frame = gr.HTML(html_template=FRAME, css_template=FRAME_STYLE, js_on_load=FRAME_SCRIPT)
        with gr.Column():
            answer = gr.HTML(elem_classes="answer")
            threshold = gr.Slider(0, 1, 0.9, step=0.01, label="Confidence threshold")
        with gr.Column():
            gr.Markdown("### Or render a plate")
            with gr.Row(elem_classes="pairs"):
                settings = [
                    gr.Textbox("37463", label="Number", max_length=NUM_DIGITS),
                    gr.Dropdown(list(FONTS), label="Font"),
                    gr.Slider(1, NUM_WEIGHTS, NUM_WEIGHTS // 3, step=1, label="Weight"),
                    gr.Slider(12, 40, 25, step=1, label="Size, pixels"),
                    gr.Slider(MIN_SPACING, 20, 6, step=1, label="Spacing, pixels"),
                    gr.Slider(-15, 15, 0, step=1, label="Rotation, degrees"),
                    gr.Slider(0, 3, 0, step=0.1, label="Blur, pixels"),
                    gr.Slider(0, 120, 0, step=5, label="Noise, gray levels"),
                ]
        with gr.Column():
            gr.Markdown(
                "### Plate, crop, CTC posteriors, text\nThe network crops the plate and reads the "
                "crop in 16 time steps, the blue columns. Each holds the posteriors of one step: "
                "the darker a cell, the more probable its digit, or the blank, which is no digit. "
                "Orange lines mark the digits of the text."
            )
            posteriors = gr.HTML()
    gr.Markdown(
        "What you send is read in the server's memory and never stored. Gradio's analytics and "
        "ONNX Runtime's telemetry are off."
    )

    event = {
        "concurrency_id": "read",
        "concurrency_limit": 4,  # a slow image does not hold up other visitors
        "trigger_mode": "always_last",  # of the steps of a moving slider, only the last counts
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    outputs = [frame, answer, posteriors]
    frame.upload(on_image, [frame, threshold], outputs, **event)
    frame.input(on_canvas, [frame, threshold], [answer, posteriors], **event)
    threshold.input(on_canvas, [frame, threshold], [answer, posteriors], **event)
    # Not `input`, which deleting a digit of the number does not trigger.
    changes = [page.load, *(setting.change for setting in settings)]
    gr.on(changes, on_sliders, [threshold, *settings], outputs, **event)

page.queue(max_size=50)  # beyond that, visitors see that it is full

if __name__ == "__main__":
    page.launch(
        theme=gr.themes.Default(primary_hue="blue", font=SYSTEM_FONTS, font_mono="monospace"),
        css=STYLE,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        max_file_size=1,  # byte: nothing is uploaded
        state_session_capacity=100,  # visitors whose last picture stays in memory
        app_kwargs={"middleware": [Middleware(limit_request_size)]},
    )
