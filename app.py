"""A page to read plates and to draw them: `make app`, or a Hugging Face Space (docs/space.md)."""

import asyncio
import base64
import json
import os
import re
import threading
from html import escape
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs

# Matplotlib keeps a list of fonts, which goes here and not into the home folder.
os.environ.setdefault("MPLCONFIGDIR", str(Path(__file__).parent / ".cache" / "matplotlib"))

import gradio as gr
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageFilter
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plate_ocr import ImageError, PlateReader
from plate_ocr.evaluation.plots import ctc_posteriors
from plate_ocr.plates.alphabet import NUM_DIGITS, is_valid_label
from plate_ocr.plates.fonts import load_fonts
from plate_ocr.plates.images import SUFFIXES, load_plate
from plate_ocr.plates.rendering import MARGIN, MIN_SPACING, compose_plate, render_glyphs, room
from plate_ocr.reading.ctc import softmax
from plate_ocr.reading.reader import Reading, to_readings

LARGEST_FILE = 5_000_000  # bytes
LARGEST_REQUEST = LARGEST_FILE * 4 // 3 + 10_000  # that file in base64, and the event around it
LARGEST_TOGETHER = 200_000_000  # bytes of all requests that are arriving
SECONDS_TO_ARRIVE = 60  # for a request
MOST_UNREAD = 30  # messages to a visitor, of about four for every event
MOST_UNREAD_TOGETHER = 2_000  # to all visitors
LARGEST_PICTURE = 4_000_000  # pixels
MOST_SCANS = 100  # of a JPEG file; progressive ones have ten, and each costs a pass over all pixels
MOST_PROFILES = 10  # of colour in a PNG file, which has one; each may decompress to a megabyte
MOST_READS_JPEG = 5_000  # from a JPEG file of 5 MB: few parts, joined to others of their kind
MOST_READS = 100_000  # from another file; some PNG, TIFF and BMP files have many parts
EVENTS = "/gradio_api/queue/join"  # nothing may be posted elsewhere
ANSWERS = "/gradio_api/queue/data"
# What the page gets. Others of Gradio's addresses write visitors' pictures to disk or tracebacks.
READABLE = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)"
    rf"|/(assets|static)/[\w./-]{{1,200}}|/gradio_api/(app_id|startup-events)|{ANSWERS}",
    re.ASCII,
)
READING = ("GET", "HEAD")
FIELDS = {"data", "event_data", "fn_index", "trigger_id", "session_hash"}  # of an event
EXAMPLES = sorted((Path(__file__).parent / "data" / "test").glob("*.png"))[::12]
FONTS = {font.family: font for font in load_fonts()}
WEIGHT_STEPS = 24  # steps from light to heavy
READER = PlateReader(backend="onnx")
ONE_FIGURE = threading.Lock()  # at a time: Matplotlib is not made for threads
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
    if not is_valid_label(number):
        raise ValueError("A plate has exactly five digits.")
    instances = sorted(FONTS[family].instances, key=lambda axes: dict(axes).get("wght", 0))
    instance = instances[round((weight - 1) / (WEIGHT_STEPS - 1) * (len(instances) - 1))]
    ten = render_glyphs(FONTS[family].path, instance, size)
    glyphs = [ten[int(digit)] for digit in number]
    columns, rows = room(glyphs, gap)
    if columns < 0 or rows < 0:
        raise ValueError("This does not fit on the plate: choose a smaller size or gap.")
    plate = compose_plate(glyphs, gap, MARGIN + columns // 2, MARGIN + rows // 2)
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
        f"and {100 * least:.0f} % is asked for.</p>"
        "<p>Only that probability is calibrated: it was fitted to how often readings "
        "of plates like these are right. What stands below a digit is the network's own "
        "probability at that digit's time step, which can be lower.</p></div>"
    )


def explain(plate: np.ndarray, least: float) -> tuple[str, str, str]:
    """Read a plate: the plate for the frame, the answer, and the picture of how it came about."""
    Image.fromarray(plate).save(shown := BytesIO(), "PNG")
    look = READER.forward(plate[None, :, :, None])
    reading = to_readings(look, READER.calibration)[0]
    with ONE_FIGURE:
        figure = ctc_posteriors(
            plate, softmax(look.logits)[0], title="", digits=reading.digits, crop=look.crop[0]
        )
        figure.set_size_inches(5, 4.2)  # letters large enough on a phone
        figure.savefig(steps := BytesIO(), dpi=200)
        plt.close(figure)
    picture = f'<img src="{data_url(steps)}" alt="probability of every digit at every time step">'
    return data_url(shown), answer(reading, least), picture


def no_answer(reason: object) -> tuple[None, str, str]:
    """An empty frame, and why there is nothing to read."""
    return None, f'<p class="message">{escape(str(reason))}</p>', ""


class FewReads(BytesIO):
    """The content of a file, which is refused where it is made of so many parts that it costs time.

    Args:
        content: of the file; Pillow reads it part by part.

    Raises:
        UnreadableImage: it has too many parts; here, or while it is read.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.name = f"{len(content):,} bytes"
        is_jpeg = content.startswith(b"\xff\xd8")
        self._left = MOST_READS_JPEG if is_jpeg else MOST_READS
        if is_jpeg and content.count(b"\xff\xda") > MOST_SCANS:
            raise ImageError(f"It is a JPEG image of more than {MOST_SCANS} scans.")
        if content.count(b"iCCP") > MOST_PROFILES:
            raise ImageError(f"It has more than {MOST_PROFILES} colour profiles.")

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes."""
        self._left -= 1
        if self._left < 0:
            raise ImageError(f"{self.name}: has too many parts.")
        return super().read(size)


def plate_of(picture: object) -> np.ndarray:
    """The plate in a picture that came as a data URL.

    Raises:
        ValueError: there is none, or it cannot be read; the message is for the visitor.
    """
    if not isinstance(picture, str):
        raise ValueError("Nothing to read yet.")
    try:
        content = base64.b64decode(picture.partition(",")[2])
        return load_plate(FewReads(content), max_pixels=LARGEST_PICTURE)
    except ValueError as error:
        raise ValueError(f"This file cannot be read. {error}") from error


def value_of(component: gr.Slider | gr.Dropdown | gr.Textbox, value: object) -> str | float:
    """The value of a component: a visitor may type any number, and a program may send anything.

    Raises:
        ValueError: it is of another type or out of range; the message is for the visitor.
    """
    if isinstance(component, gr.Slider):
        low, high = component.minimum, component.maximum
        wanted = f"a number from {low} to {high}"
        if type(value) in (int, float) and low <= value <= high:  # NaN is not
            return round(value) if isinstance(component.step, int) else value
    elif isinstance(component, gr.Dropdown):
        wanted = "one of the list"
        if any(value == choice for _, choice in component.choices):
            return value
    else:
        wanted = "text"
        if isinstance(value, str):
            return value
    raise ValueError(f"{component.label}: must be {wanted}.")


def on_picture(picture: object, least: object) -> tuple[str | None, str, str]:
    """Read a picture that came as a data URL."""
    try:
        return explain(plate_of(picture), value_of(threshold, least))
    except ValueError as error:
        return no_answer(error)


def on_drawing(picture: object, least: object) -> tuple[str, str]:
    """Somebody draws, or the threshold moved: the frame stays as it is."""
    return on_picture(picture, least)[1:]


def on_sliders(least: object, *values: object) -> tuple[str | None, str, str]:
    """Draw a plate and read it."""
    try:
        plate = draw(*map(value_of, settings, values))
        return explain(plate, value_of(threshold, least))
    except ValueError as error:
        return no_answer(error)


def session_of(body: bytes) -> str | None:
    """The session of an event of this page: of anything else Gradio writes a traceback."""
    try:
        event = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not event.keys() <= FIELDS:
        return None
    index, data, session = (event.get(name) for name in ("fn_index", "data", "session_hash"))
    is_event = (
        type(index) is int
        and index in page.fns
        and isinstance(event.get("trigger_id"), int | None)
        and isinstance(data, list)
        and len(data) == len(page.fns[index].inputs)
        and all(isinstance(value, str | int | float | None) for value in data)
        and isinstance(session, str)
        and session.isalnum()
        and len(session) <= 64
    )
    return session if is_event else None


class Refused(Exception):
    """A request is not let in.

    Args:
        status: of the response.
        reason: its text.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.response = PlainTextResponse(f"{reason}\n", status, {"Connection": "close"})


def check_head(scope: Scope) -> None:
    """Let nothing pass but events and what the page gets.

    Raises:
        Refused: the request is another one.
    """
    path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
    if scope["method"] not in READING:
        if path != EVENTS:
            raise Refused(403, "Nothing is uploaded here.")
    elif not READABLE.fullmatch(path):
        raise Refused(404, "There is no such page.")
    elif path == ANSWERS:
        session = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        if session not in page._queue.pending_messages_per_session:
            raise Refused(404, "There is no such session.")
    try:
        gr.route_utils.get_root_url(Request(scope), path, None)
    except Exception as error:  # Gradio does so itself, and would write a traceback
        raise Refused(400, "The name of the host is not valid.") from error


def check_unread(session: str) -> None:
    """Keep few messages that nobody fetches in memory: of all sessions, the oldest are dropped.

    Raises:
        Refused: this session must fetch its own first.
    """
    waiting = page._queue.pending_messages_per_session
    if session in waiting and waiting[session].qsize() > MOST_UNREAD:
        raise Refused(503, "Earlier answers have not been fetched.")
    unread = sum(messages.qsize() for messages in waiting.values())
    for messages in waiting.values():
        while unread > MOST_UNREAD_TOGETHER and not messages.empty():
            messages.get_nowait()
            unread -= 1


class OnlyEvents:
    """Lets in what the page gets and events of limited size, so that nothing is ever stored.

    The bytes of a request are counted as they arrive: its headers may say anything of its length.

    Args:
        app: what answers the events.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.arriving = 0  # bytes of all requests that are not complete

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            check_head(scope)
            if scope["method"] in READING:
                await self.app(scope, receive, send)
                return
            body = await self._receive_all(receive)
            session = session_of(body)
            if session is None:
                raise Refused(400, "This is not an event of this page.")
            check_unread(session)
        except Refused as refused:
            await refused.response(scope, receive, send)
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def received() -> Message:
            return messages.pop() if messages else await receive()

        await self.app(scope, received, send)

    async def _receive_all(self, receive: Receive) -> bytes:
        body = bytearray()
        more = True
        try:
            async with asyncio.timeout(SECONDS_TO_ARRIVE):
                while more:
                    message = await receive()
                    body += (part := message.get("body", b""))
                    self.arriving += len(part)
                    if len(body) > LARGEST_REQUEST:
                        raise Refused(413, "This is too large.")
                    if self.arriving > LARGEST_TOGETHER:
                        raise Refused(503, "Too much arrives at once.")
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise Refused(408, "This took too long to arrive.") from error
        finally:
            self.arriving -= len(body)
        return bytes(body)


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
    gr.Markdown("# Plate OCR\nReads the five digits of a simulated number plate.")
    with gr.Column(elem_classes="parts"):
        with gr.Column():
            frame = gr.HTML(html_template=FRAME, css_template=FRAME_STYLE, js_on_load=FRAME_SCRIPT)
        with gr.Column():
            shown = gr.HTML(elem_classes="answer")
            threshold = gr.Slider(0, 1, 0.9, step=0.01, label="Confidence threshold")
        with gr.Column():
            gr.Markdown("### Or draw one with sliders")
            with gr.Row(elem_classes="pairs"):
                settings = [
                    gr.Textbox("37463", label="Number", max_length=NUM_DIGITS),
                    gr.Dropdown(list(FONTS), label="Font"),
                    gr.Slider(1, WEIGHT_STEPS, WEIGHT_STEPS // 3, step=1, label="Weight"),
                    gr.Slider(12, 40, 25, step=1, label="Size, pixels"),
                    gr.Slider(MIN_SPACING, 20, 6, step=1, label="Gap, pixels"),
                    gr.Slider(-15, 15, 0, step=1, label="Tilt, degrees"),
                    gr.Slider(0, 3, 0, step=0.1, label="Blur, pixels"),
                    gr.Slider(0, 120, 0, step=5, label="Noise, greys"),
                ]
        with gr.Column():
            gr.Markdown(
                "### What the network sees\nThe network reads its input crop, tinted blue "
                "below, in 16 time steps from left to right. The darker a cell, the more probable "
                "its digit at that step, or blank, which is no digit. Orange lines mark the middle "
                "of each digit that was read."
            )
            why = gr.HTML()
    gr.Markdown(
        "What you send is read in the server's memory and stored nowhere. Nothing about it or you "
        "is reported: Gradio's analytics and ONNX Runtime's telemetry are off."
    )

    event = {
        "concurrency_id": "read",
        "concurrency_limit": 4,  # a slow one does not hold up the others
        "preprocess": False,  # value_of does it, with a line for the visitor
        "trigger_mode": "always_last",  # what is on its way need not be followed at every step
        "show_progress": "hidden",
        "api_visibility": "private",
    }
    everything = [frame, shown, why]
    frame.upload(on_picture, [frame, threshold], everything, **event)
    frame.input(on_drawing, [frame, threshold], [shown, why], **event)
    threshold.input(on_drawing, [frame, threshold], [shown, why], **event)
    # Not input: a digit taken away from the number fires none.
    moves = [page.load, *(one.change for one in settings)]
    gr.on(moves, on_sliders, [threshold, *settings], everything, **event)

page.queue(max_size=50)  # further events are told that it is full

if __name__ == "__main__":
    page.launch(
        theme=gr.themes.Default(primary_hue="blue", font=SYSTEM_FONTS, font_mono="monospace"),
        css=STYLE,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        state_session_capacity=100,  # visitors whose last picture stays in memory
        app_kwargs={"middleware": [Middleware(OnlyEvents)]},
    )
