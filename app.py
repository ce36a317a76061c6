"""A page to read plates and to draw them: `make app`, or a Hugging Face Space (docs/space.md)."""

import base64
from html import escape
from io import BytesIO
from pathlib import Path

import gradio as gr
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from plate_ocr import PlateReader, UnreadableImage
from plate_ocr.alphabet import PLATE_DIGITS, is_plate_text
from plate_ocr.decoding import softmax
from plate_ocr.fonts import load_fonts
from plate_ocr.images import SUFFIXES, load_plate
from plate_ocr.plotting import step_probabilities
from plate_ocr.reader import Reading, readings_from_look
from plate_ocr.rendering import MARGIN, MINIMUM_GAP, draw_glyphs, place_glyphs, room

LARGEST_FILE = 5_000_000  # bytes
LARGEST_REQUEST = LARGEST_FILE * 4 // 3 + 10_000  # that file in base64, and the event around it
EVENTS = ("/queue/join", "/cancel", "/reset")  # nothing else may be posted
EXAMPLES = sorted((Path(__file__).parent / "data" / "test").glob("*.png"))[::12]
FONTS = {font.family: font for font in load_fonts()}
WEIGHT_STEPS = 24  # steps from light to heavy
READER = PlateReader(engine="onnx")
plt.switch_backend("Agg")  # figures are made in threads, where no window may open


def data_url(png: BytesIO | bytes) -> str:
    """A PNG file as text that a browser shows."""
    content = png if isinstance(png, bytes) else png.getvalue()
    return "data:image/png;base64," + base64.b64encode(content).decode()


def draw(
    number: str, family: str, weight: int, size: int, gap: int, tilt: int, blur: float, noise: int
) -> np.ndarray:
    """Draw a plate, uint8 (64, 128), with the digits in its middle.

    Weight, 1 to 24, chooses an instance of the font, from light to heavy. Blur, in pixels, and
    noise, in grey levels, are standard deviations.

    Raises:
        ValueError: the number is not five digits, or does not fit.
    """
    if not is_plate_text(number):
        raise ValueError("A plate has exactly five digits.")
    instances = sorted(FONTS[family].instances, key=lambda axes: dict(axes).get("wght", 0))
    instance = instances[round((weight - 1) / (WEIGHT_STEPS - 1) * (len(instances) - 1))]
    ten = draw_glyphs(FONTS[family].path, instance, size)
    glyphs = [ten[int(digit)] for digit in number]
    columns, rows = room(glyphs, gap)
    if columns < 0 or rows < 0:
        raise ValueError("This does not fit on the plate: choose a smaller size or gap.")
    plate = place_glyphs(glyphs, gap, MARGIN + columns // 2, MARGIN + rows // 2)
    image = Image.fromarray(plate).rotate(tilt, Image.Resampling.BICUBIC, fillcolor=255)
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), dtype=float)
    grain = np.random.default_rng(0).normal(0, noise, plate.shape)  # alike as other sliders move
    return np.clip(blurred + grain, 0, 255).astype(np.uint8)


def percent(share: float) -> str:
    """A share as text, which does not call 99.96 % certain."""
    return "&gt; 99.9 %" if 0.999 < share < 1 else f"{100 * share:.1f} %"


def answer(reading: Reading, least: float) -> str:
    """Five digits, how sure each is, and whether the reading would be refused."""
    digits = "".join(
        f'<li><b>{one.digit}</b><hr style="width: {one.confidence:.0%}">{percent(one.confidence)}'
        for one in reading.digits
    )
    verdict = "refused" if reading.confidence < least else "accepted"
    return (
        f'<div class="{verdict}"><ol>{digits}</ol><p><strong>{verdict.title()}:</strong> '
        f"the probability that all five are right is {percent(reading.confidence)}, "
        f"and {100 * least:.0f} % is asked for.</p></div>"
    )


def explain(plate: np.ndarray, least: float) -> tuple[str, str, str]:
    """Read a plate: the plate for the frame, the answer, and the picture of how it came about."""
    Image.fromarray(plate).save(shown := BytesIO(), "PNG")
    look = READER.look(plate[None, :, :, None])
    reading = readings_from_look(look, READER.calibration)[0]
    figure = step_probabilities(
        plate, softmax(look.logits)[0], title="", digits=reading.digits, frame=look.frames[0]
    )
    figure.set_size_inches(5, 4.2)  # letters large enough on a phone
    figure.savefig(steps := BytesIO(), dpi=200)
    plt.close(figure)
    picture = f'<img src="{data_url(steps)}" alt="probability of every digit at every step">'
    return data_url(shown), answer(reading, least), picture


def no_answer(reason: object) -> tuple[None, str, str]:
    """An empty frame, and why there is nothing to read."""
    return None, f'<p class="message">{escape(str(reason))}</p>', ""


def on_picture(picture: str | None, least: float) -> tuple[str | None, str, str]:
    """Read a picture that came as a data URL."""
    if not isinstance(picture, str):
        return no_answer("Nothing to read yet.")
    try:
        return explain(load_plate(base64.b64decode(picture.partition(",")[2])), least)
    except (UnreadableImage, ValueError) as error:
        return no_answer(f"This file cannot be read. {error}")


def on_drawing(picture: str | None, least: float) -> tuple[str, str]:
    """Somebody draws, or the limit moved: the frame stays as it is."""
    return on_picture(picture, least)[1:]


def on_sliders(least: float, *settings: str | float) -> tuple[str | None, str, str]:
    """Draw a plate and read it."""
    try:
        return explain(draw(*settings), least)
    except ValueError as error:
        return no_answer(error)


def only_events(app: ASGIApp) -> ASGIApp:
    """Let in events of limited size and nothing else, so that no upload is ever stored."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        respond = app
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            length = dict(scope["headers"]).get(b"content-length", b"")
            if not scope["path"].rstrip("/").endswith(EVENTS):
                respond = PlainTextResponse("Nothing is uploaded here.", 403)
            elif not length.isdigit() or int(length) > LARGEST_REQUEST:
                respond = PlainTextResponse("This is too large.", 413)
        await respond(scope, receive, send)

    return guarded


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
  if (file.size > LARGEST) return refuse(`${file.name} is larger than ${LARGEST / 1e6} MB.`);
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
""".replace("LARGEST", str(LARGEST_FILE))

STYLE = """
.html-container { padding: 0 !important; }
.answer ol { display: flex; gap: 8px; margin: 0 0 12px; padding: 0; list-style: none; }
.answer li { flex: 1; min-width: 0; margin: 0; text-align: center; white-space: nowrap;
  font-size: clamp(0.75rem, 3vw, 1rem); }
.answer b { display: block; font-size: clamp(4rem, 9vw, 7rem); line-height: 1.1; }
.answer hr { height: 6px; margin: 0 0 4px; border: 0; background: #0072B2; }
.answer .refused b { opacity: 0.35; }
.answer .refused strong { color: #D55E00; }
.answer .accepted strong { color: #009E73; }
.answer .message { margin: 24px 0; font-size: 1.25rem; }
.pairs .form { display: grid; grid-template-columns: 1fr 1fr; }
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
    gr.Markdown("# Plate OCR\nReads the five digits of a simulated number plate.")
    with gr.Column(elem_classes="parts"):
        with gr.Column():
            frame = gr.HTML(html_template=FRAME, css_template=FRAME_STYLE, js_on_load=FRAME_SCRIPT)
        with gr.Column():
            shown = gr.HTML(elem_classes="answer")
            least = gr.Slider(0, 1, 0.9, step=0.01, label="Refuse readings below this confidence")
        with gr.Column():
            gr.Markdown("### Or draw one with sliders")
            with gr.Row(elem_classes="pairs"):
                settings = [
                    gr.Textbox("37463", label="Number", max_length=PLATE_DIGITS),
                    gr.Dropdown(list(FONTS), label="Font"),
                    gr.Slider(1, WEIGHT_STEPS, WEIGHT_STEPS // 3, step=1, label="Weight"),
                    gr.Slider(12, 40, 25, step=1, label="Size, pixels"),
                    gr.Slider(MINIMUM_GAP, 20, 6, step=1, label="Gap, pixels"),
                    gr.Slider(-15, 15, 0, step=1, label="Tilt, degrees"),
                    gr.Slider(0, 3, 0, step=0.1, label="Blur, pixels"),
                    gr.Slider(0, 120, 0, step=5, label="Noise, greys"),
                ]
        with gr.Column():
            gr.Markdown(
                "### What the network sees\nA step is a sixteenth of what it looks at. The "
                "darker a cell, the more probable its digit; lines mark where the five were read."
            )
            why = gr.HTML()

    event = {
        "concurrency_id": "read",  # one at a time: Matplotlib is not made for threads
        "trigger_mode": "always_last",  # what is on its way need not be followed at every step
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    everything = [frame, shown, why]
    frame.upload(on_picture, [frame, least], everything, **event)
    frame.input(on_drawing, [frame, least], [shown, why], **event)
    least.input(on_drawing, [frame, least], [shown, why], **event)
    # Not input: a digit taken away from the number fires none.
    moves = [page.load, *(one.change for one in settings)]
    gr.on(moves, on_sliders, [least, *settings], everything, **event)

page.queue(max_size=50)  # further events are told that it is full

if __name__ == "__main__":
    page.launch(
        theme=gr.themes.Default(primary_hue="blue", font=SYSTEM_FONTS, font_mono="monospace"),
        css=STYLE,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        state_session_capacity=100,  # visitors whose last picture stays in memory
        app_kwargs={"middleware": [Middleware(only_events)]},
    )
