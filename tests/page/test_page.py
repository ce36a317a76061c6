"""`app.py` as a visitor meets it: a server of its own, and a real browser without a screen."""

import asyncio
import base64
import http.client
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import PROJECT
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from plate_ocr import ImageError

TEST = sorted((PROJECT / "data" / "test").glob("*.png"))
PATIENCE = 120  # seconds; usually one is enough
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    " --disable-background-networking --disable-component-update --window-size=1280,1100"
)
JOIN = "/gradio_api/queue/join"
SLIDERS = [0.9, "37463", "Overpass", 8, 25, 6, 0, 0, 0]  # as the page begins
NAME = "<img src=x onerror=document.title='hacked'><b>bold</b>.png"


def post(server, path, content=b"{}", **headers):
    """Post something and return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("POST", path, content, {"Content-Type": "application/json"} | headers)
    status = connection.getresponse().status
    connection.close()
    return status


def get(server, path, **headers):
    """Get something and return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def event(data, session=None, **others):
    """The body of an event of the sliders, of a session of its own or of this one."""
    session = session or uuid.uuid4().hex
    return json.dumps({"data": data, "fn_index": 3, "session_hash": session} | others).encode()


def join(server, content):
    """Post an event and return the status."""
    return post(server, JOIN, content)


def answers(server, session):
    """When and how a visitor's events that wait or run are answered."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", f"/gradio_api/queue/data?session_hash={session}")
    for line in connection.getresponse():
        message = json.loads(line.removeprefix(b"data:")) if line.startswith(b"data:") else {}
        if message.get("msg") == "process_completed":
            yield time.monotonic(), str(message["output"]["data"])
        elif message.get("msg") == "close_stream":
            break
    connection.close()


def data_url(picture, kind="PNG", **options):
    picture.save(file := io.BytesIO(), kind, **options)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with a home of its own, its log, and where Gradio would store uploads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    log, stored, home = folder / "log", folder / "stored", folder / "home"
    home.mkdir()
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(stored),
        "HOME": str(home),
    }
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "ORT_DISABLE_TELEMETRY"):
        environment.pop(name, None)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=PROJECT, env=environment, stdout=output, stderr=output
        )
    address = f"http://127.0.0.1:{port}/"
    page = SimpleNamespace(
        address=address, port=port, log=log, stored=stored, home=home, pid=process.pid
    )
    try:
        until = time.monotonic() + 5 * PATIENCE
        while not is_open(port):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield page
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


class Page:
    """What a visitor sees and does."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def wait(self, condition):
        WebDriverWait(self.browser, PATIENCE, 0.1).until(
            lambda _: condition(), f"shown: {self.answer()!r}"
        )

    def answer(self):
        return self.browser.execute_script(
            "return document.querySelector('div.block.answer')?.innerText ?? ''"
        )

    def digits(self):
        return re.sub(r"\D", "", "".join(re.findall(r"^\d$", self.answer(), re.MULTILINE)))

    def line(self):
        return self.find("canvas + p").text

    def reads(self, text):
        self.wait(lambda: self.digits() == text)

    def says(self, text):
        self.wait(lambda: text in self.answer())

    def upload(self, path):
        self.find("input[type=file]").send_keys(str(path))

    def give(self, event, names):
        """Drop or paste the example under several names, as files."""
        self.browser.execute_script(
            """
            const [event, names] = arguments, files = new DataTransfer();
            const source = document.querySelector('.examples img').src;
            const bytes = Uint8Array.from(atob(source.split(',')[1]), c => c.charCodeAt(0));
            names.forEach(name => files.items.add(new File([bytes], name)));
            const target = document.querySelector('canvas');
            target.dispatchEvent(event === 'drop'
              ? new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true})
              : new ClipboardEvent('paste', {clipboardData: files, bubbles: true}));
            """,
            event,
            names,
        )

    def slide(self, label, *keys):
        slider = self.find(f"input[type=range][aria-label*='{label}']")
        slider.send_keys(*keys)


@pytest.fixture
def page(browser, server):
    browser.get(server.address)
    page = Page(browser)
    page.reads("37463")
    return page


def test_every_example_is_read_rightly_and_accepted(page):
    examples = page.browser.find_elements(By.CSS_SELECTOR, ".examples button")
    assert len(examples) == 5
    for example in examples:
        example.click()
        page.reads(example.find_element(By.TAG_NAME, "img").get_attribute("alt"))
        assert "Accepted" in page.answer() and page.answer().count("%") == 7


def test_the_reading_follows_number_and_sliders(page):
    steps = "return document.querySelector('img[alt^=probability]').src"
    before = page.browser.execute_script(steps)
    number = page.find("input[type=text], textarea")
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("90817")
    page.reads("90817")
    assert page.browser.execute_script(steps) != before
    page.slide("Tilt", Keys.HOME)
    page.slide("Blur", Keys.END)
    page.slide("Noise", Keys.END)
    page.says("Refused")
    page.slide("Size", Keys.END)
    page.slide("Gap", Keys.END)
    page.says("does not fit")
    number.send_keys(Keys.BACKSPACE)
    page.says("exactly five digits")


def test_the_limit_decides_what_is_refused(page):
    page.slide("threshold", Keys.END)
    page.says("Refused")
    assert page.digits() == "37463"
    page.slide("threshold", Keys.HOME)
    page.says("Accepted")


def test_uploads_of_every_format(page, tmp_path):
    for path, kind in zip(TEST[5:], ("PNG", "JPEG", "BMP", "WEBP", "TIFF"), strict=False):
        picture = tmp_path / f"plate.{kind.lower()}"
        Image.open(path).resize((640, 320)).save(picture, kind)
        page.upload(picture)
        page.reads(path.stem)


def test_pasted_and_dropped(page):
    page.give("paste", ["plate.png"])
    page.reads(TEST[0].stem)
    page.give("drop", ["one.png", "two.png"])
    page.says("Nothing to read")
    assert page.line() == "One picture at a time, please."
    page.give("drop", ["plate.png"])
    page.reads(TEST[0].stem)


def test_drawn_by_hand(page):
    page.find(".tools button").click()
    page.says("Nothing to read")
    canvas = page.find("canvas")
    for place in range(5):
        pen = ActionChains(page.browser, duration=20)
        pen.move_to_element_with_offset(canvas, 100 * (place - 2) - 20, -50).click_and_hold()
        pen.move_by_offset(40, 0).move_by_offset(-25, 100).release().perform()
    page.reads("77777")


def test_what_is_no_image_is_named_and_its_name_is_only_text(page, tmp_path):
    path = tmp_path / NAME.replace("/", "\N{DIVISION SLASH}")
    path.write_text("<b>no image</b>")
    page.upload(path)
    page.says("This file cannot be read.")
    assert "not a PNG, JPEG, BMP, WebP or TIFF image" in page.answer()
    assert page.line() == path.name
    assert page.browser.title == "Plate OCR"
    assert not page.browser.find_elements(By.CSS_SELECTOR, "canvas + p *")


def test_too_many_pixels(page, tmp_path):
    Image.new("1", (2_100, 2_000)).save(tmp_path / "huge.png")
    page.upload(tmp_path / "huge.png")
    page.says("2100 x 2000 pixels")


def test_a_small_file_of_many_pixels_costs_no_time():
    import app

    picture = data_url(Image.new("1", (1, 24_000_000)))
    begun = time.process_time()
    shown, answer, _ = app.on_picture(picture, 0.9)
    assert time.process_time() - begun < 0.5
    assert shown is None and "24000000 pixels" in answer


def test_a_jpeg_of_very_many_scans_is_not_decoded():
    import app

    Image.new("L", (640, 320), 128).save(file := io.BytesIO(), "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    many = content[:last] + 200 * content[last:-2] + content[-2:]
    for file, refused in ((content, False), (many, True)):
        url = "data:image/jpeg;base64," + base64.b64encode(file).decode()
        assert (app.on_picture(url, 0.9)[0] is None) == refused


def chunks(kind, content, count):
    """The same part of a PNG file many times."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return count * (struct.pack(">I", len(content)) + kind + content + check)


EXIF = b"\xff\xe1\0\x0aExif\0\0II"
LONG_EXIF = b"\xff\xe1\x01\x0aExif\0\0II" + bytes(256)
PROFILE = b"a\0\0" + zlib.compress(bytes(1_000_000))


@pytest.mark.parametrize(
    ("kind", "at", "parts", "refused"),
    [
        ("JPEG", 2, 100 * EXIF, False),
        ("JPEG", 2, 400_000 * EXIF, True),
        ("JPEG", 2, 18_000 * LONG_EXIF, True),
        ("JPEG", 2, 4_800_000 * b"\xff", True),
        ("JPEG", 2, 2_400_000 * b"\xff\0", True),
        ("JPEG", 2, 1_000_000 * b"\xff\xdb\0\x02", True),
        ("PNG", 33, chunks(b"iCCP", PROFILE, 1), False),
        ("PNG", 33, chunks(b"iCCP", PROFILE, 4_000), True),
        ("PNG", 33, chunks(b"tEXt", b"a\0b", 5_000), False),
        ("PNG", 33, chunks(b"tEXt", b"a\0b", 300_000), True),
        ("PNG", -12, chunks(b"tEXt", b"a\0b", 300_000), True),
    ],
    ids=range(11),
)
def test_a_file_of_very_many_parts_costs_no_time(kind, at, parts, refused):
    import app

    Image.open(TEST[0]).save(file := io.BytesIO(), kind)
    content = file.getvalue()
    content = content[:at] + parts + content[at:]
    begun = time.process_time()
    try:
        app.plate_of("," + base64.b64encode(content).decode())
        assert not refused
    except ValueError:
        assert refused
    assert time.process_time() - begun < 1


def test_an_image_of_very_many_strips_costs_no_time():
    import app

    picture = data_url(Image.new("L", (1, 150_000)), "TIFF", tiffinfo={278: 1})
    begun = time.process_time()
    with pytest.raises(ValueError, match="not a size we read"):
        app.plate_of(picture)
    assert time.process_time() - begun < 2


def test_a_slow_picture_does_not_hold_up_another_visitor(monkeypatch):
    import app

    decodes, ends = threading.Event(), threading.Event()

    def slow(*_, **__):
        decodes.set()
        assert ends.wait(20)
        raise ImageError("slow")

    monkeypatch.setattr(app, "load_plate", slow)
    with ThreadPoolExecutor() as pool:
        picture = pool.submit(app.on_picture, "data:image/png;base64,AAAA", 0.9)
        assert decodes.wait(20)
        shown, answer, _ = app.on_sliders(*SLIDERS)
        ends.set()
        assert shown and "Accepted" in answer and "slow" in picture.result()[1]
    assert all(event.concurrency_limit > 1 for event in app.page.fns.values())


def test_too_many_bytes(page, tmp_path):
    (tmp_path / "huge.png").write_bytes(bytes(5_000_001))
    page.upload(tmp_path / "huge.png")
    page.says("Nothing to read")
    assert page.line() == "huge.png is larger than 5 MB."
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1350, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    assert 4_500_000 < (tmp_path / "large.png").stat().st_size <= 5_000_000
    page.upload(tmp_path / "large.png")
    page.wait(lambda: len(page.digits()) == 5)


def test_nothing_else_is_taken(server):
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert post(server, "/gradio_api/upload", **form) == 403
    for path in ("component_server", "reset", "cancel", "run/predict"):
        assert post(server, f"/gradio_api/{path}") == 403
    assert join(server, event(SLIDERS)) == 200
    assert [path for path in server.stored.rglob("*") if path.is_file()] == []


def test_no_picture_is_written_to_disk(server):
    assert join(server, event([data_url(Image.open(TEST[0])), 0.9], "kept", fn_index=0)) == 200
    assert "Accepted" in next(answers(server, "kept"))[1]
    assert get(server, "/gradio_api/deep_link?session_hash=kept") == 404
    assert [path for path in server.stored.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/queue/data",
        "/gradio_api/queue/data?session_hash=nobody",
        "/gradio_api/queue/data?session_hash=%ff",
        "/gradio_api/call/x/y",
        "/gradio_api/proxy=%00",
        "/gradio_api/proxy=http://x/assets/x.js",
        "/gradio_api/file=app.py",
        "/gradio_api/heartbeat/x",
        "/gradio_api/info",
        "/gradio_api/runs",
        "/static/" + 300 * "a",
        "/static/img",
        "/static/%00",
        "/static/../../routes.py",
        "/assets/%ff",
        "/svelte/%00",
        "/pwa_icon/9",
        "/login_check",
        "/monitoring",
        "/%0a",
    ],
)
def test_the_page_alone_can_be_got(server, path):
    log = server.log.read_text()
    assert get(server, path) in (403, 404)
    assert get(server, "/") == get(server, "/config") == 200
    assert server.log.read_text() == log


@pytest.mark.parametrize("host", ["\x01", "x:y", "[", "x:99999999", "xn--\xff", "/", " "])
@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Gradio-Server", "Host"])
def test_the_name_of_the_host_may_be_anything(server, header, host):
    log = server.log.read_text()
    for status in (
        get(server, "/", **{header: host}),
        post(server, JOIN, event(SLIDERS), **{header: host}),
    ):
        assert status in (200, 400)
    assert server.log.read_text() == log


@pytest.mark.parametrize("root", ["", "/plates"])
def test_the_page_may_stand_below_another_address(root):
    import app

    head = {"type": "http", "method": "GET", "query_string": b"", "root_path": root}
    head |= {"headers": [], "server": ("page", 80)}
    for path in ("/", "/config", "/assets/index.js", "/gradio_api/startup-events"):
        app.check_head(head | {"path": root + path})
    with pytest.raises(app.Refused):
        app.check_head(head | {"path": f"{root}/gradio_api/deep_link"})


@pytest.mark.parametrize(
    "headers",
    [
        "Transfer-Encoding: chunked",
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 2",
        "Content-Length: 60000000",
    ],
)
def test_no_request_over_the_limit_is_taken_whatever_its_headers_say(server, headers):
    before = most_memory(server)
    taken, status = send_much(server, headers)
    assert taken < 30_000_000  # the limit, and what the system's buffers hold
    assert status in (413, None)  # none where the connection ended first
    assert most_memory(server) - before < 60_000_000
    assert join(server, event(SLIDERS)) == 200


def most_memory(server):
    """Bytes the server has held at most."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status)[1])


def send_much(server, headers):
    """Send 60 MB in pieces: how many bytes were taken, and the status."""
    piece = b" " * 100_000
    if "chunked" in headers:
        piece = b"186a0\r\n" + piece + b"\r\n"
    taken = 0
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(f"POST {JOIN} HTTP/1.1\r\nHost: page\r\n{headers}\r\n\r\n".encode())
        try:
            while taken < 60_000_000:
                client.sendall(piece)
                taken += 100_000
        except OSError:
            pass
        try:
            answer = client.recv(100).split()
        except OSError:
            answer = []
    return taken, int(answer[1]) if answer else None


def test_a_request_longer_than_it_says_is_cut_there(server):
    whole = event(SLIDERS)
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        head = f"POST {JOIN} HTTP/1.1\r\nHost: page\r\nContent-Length: 20\r\n\r\n"
        client.sendall(head.encode() + whole)
        assert b" 400 " in client.recv(100)
    assert join(server, whole) == 200


def test_a_request_shorter_than_it_says_does_not_hold_up_others(server):
    head = f"POST {JOIN} HTTP/1.1\r\nHost: page\r\nContent-Length: 900\r\n\r\n{{"
    clients = [socket.create_connection(("127.0.0.1", server.port), PATIENCE) for _ in range(60)]
    for client in clients:
        client.sendall(head.encode())
    assert join(server, event(SLIDERS, "others")) == 200
    assert "Accepted" in next(answers(server, "others"))[1]
    for client in clients:
        client.close()


def guarded(parts, **limits):
    """The status of a request whose parts arrive so, and what the app behind it was given."""
    import app

    given, statuses, parts = [], [], iter(parts)

    async def behind(scope, receive, send):
        given.append((await receive())["body"])

    async def receive():
        body = next(parts, None)
        if body is None:
            await asyncio.sleep(PATIENCE)
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(message):
        statuses.append(message.get("status"))

    scope = {"type": "http", "method": "POST", "path": JOIN, "headers": [], "server": ("page", 80)}
    with pytest.MonkeyPatch.context() as patch:
        for name, limit in limits.items():
            patch.setattr(app, name, limit)
        asyncio.run(app.OnlyEvents(behind)(scope, receive, send))
    return statuses[0], given


def test_a_request_that_does_not_end_is_given_up():
    assert guarded([b"{"], SECONDS_TO_ARRIVE=0.1) == (408, [])


def test_a_visitor_who_fetches_no_answers_gets_no_more(server):
    statuses = set()
    until = time.monotonic() + PATIENCE
    while 503 not in statuses or len(statuses) < 2:
        statuses.add(join(server, event(SLIDERS, "deaf")))
        assert time.monotonic() < until and statuses <= {200, 503}
    until = time.monotonic() + PATIENCE
    while join(server, event(SLIDERS, "hearing")) == 503:  # while the queue is full
        assert time.monotonic() < until
        time.sleep(0.1)
    assert "Accepted" in next(answers(server, "hearing"))[1]
    assert join(server, event(SLIDERS, "deaf")) == 503
    assert len(list(answers(server, "deaf"))) >= 5
    assert join(server, event(SLIDERS, "deaf")) == 200


def test_the_oldest_answers_that_nobody_fetches_are_dropped(monkeypatch):
    import app

    waiting = {name: asyncio.Queue() for name in ("old", "new")}
    for messages in waiting.values():
        for number in range(20):
            messages.put_nowait(number)
    queue = SimpleNamespace(pending_messages_per_session=waiting)
    monkeypatch.setattr(app, "page", SimpleNamespace(_queue=queue))
    monkeypatch.setattr(app, "MOST_UNREAD_TOGETHER", 25)
    app.check_unread("another")
    assert (waiting["old"].qsize(), waiting["new"].qsize()) == (5, 20)


def test_requests_together_have_a_limit_too():
    assert guarded([b"{" * 1000], LARGEST_TOGETHER=900) == (503, [])


@pytest.mark.parametrize(
    "others",
    [
        {"fn_index": -1},
        {"fn_index": 99},
        {"fn_index": True},
        {"fn_index": "3"},
        {"fn_index": None},
        {"data": 7},
        {"data": []},
        {"data": [*SLIDERS, 1]},
        {"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, *SLIDERS[1:]]},
        {"data": [[1], *SLIDERS[1:]]},
        {"session_hash": None},
        {"session_hash": "\ud800"},
        {"session_hash": "long" * 100},
        {"trigger_id": float("nan")},
        {"batched": True},
    ],
)
def test_events_of_another_form_are_refused(server, others):
    assert join(server, event(**{"data": SLIDERS} | others)) == 400


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"data":' * 9_000, b"\0{\0}"]
)
def test_what_is_no_event_is_refused(server, content):
    assert join(server, content) == 400


WRONG = [float("nan"), float("inf"), -1e9, 1e9, 10**400, "7", "", None, True]


@pytest.mark.parametrize("place", range(len(SLIDERS)))
@pytest.mark.parametrize("wrong", WRONG, ids=map("{:.5}".format, map(str, WRONG)))
def test_values_of_another_kind_get_a_reason(place, wrong):
    import app

    shown, answer, steps = app.on_sliders(*SLIDERS[:place], wrong, *SLIDERS[place + 1 :])
    assert shown is None and steps == "" and "message" in answer
    if place == 0:
        assert "message" in app.on_picture(data_url(Image.open(TEST[0])), wrong)[1]


def test_a_number_typed_beside_a_slider_may_be_out_of_range(page):
    number = page.find("input[type=number][aria-label*='Weight']")
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("99")
    page.says("Weight: ")
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("9")
    page.reads("37463")


@pytest.mark.parametrize("width", [1280, 390])
def test_fits_the_screen_and_asks_no_other_host(page, server, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.browser.get(server.address)
    page.reads("37463")
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
    names = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert names and all(name.startswith((server.address, "data:", "blob:")) for name in names)
    apart = page.browser.execute_script(
        """return [...document.querySelectorAll('input[type=number]')].map(box => {
             const label = box.closest('.block').querySelector('label, [data-testid=block-info]');
             return box.getBoundingClientRect().top - label.getBoundingClientRect().top;
           })"""
    )
    assert len(apart) == 7 and max(map(abs, apart)) < 10  # every label stands beside its number
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_500_mutated_pictures_get_an_answer_or_a_reason(monkeypatch):
    import app

    # The picture of the steps, which takes longest, is the same for all.
    monkeypatch.setattr(app, "explain", lambda plate, _: ("shown", app.READER.read(plate).text, ""))
    random = np.random.default_rng(0)
    plate = Image.open(TEST[0])
    originals = []
    for kind in ("PNG", "JPEG", "BMP", "WEBP", "TIFF"):
        plate.save(file := io.BytesIO(), kind)
        originals.append(file.getvalue())
    answers = reasons = 0
    for turn in range(500):
        content = bytearray(originals[turn % 5])
        for place in random.integers(0, len(content), random.integers(1, 8)):
            content[place] ^= 1 << random.integers(8)
        del content[random.integers(len(content) // 2, 2 * len(content)) :]
        url = "data:image/png;base64," + base64.b64encode(content).decode()
        shown, answer, _ = app.on_picture(url, 0.9)
        assert "This file cannot be read." in answer if shown is None else len(answer) == 5
        answers, reasons = answers + (shown is not None), reasons + (shown is None)
    assert answers > 20 and reasons > 20


@pytest.mark.parametrize(
    "picture", [None, 7, {"path": "/etc/passwd"}, [], "", ",", ",A", "<b>,<b>"]
)
def test_events_of_another_shape_get_a_reason(picture):
    import app

    shown, answer, steps = app.on_picture(picture, 0.9)
    assert shown is None and steps == "" and "message" in answer and "<b>" not in answer


def test_the_server_wrote_no_traceback(server):
    assert "Traceback" not in server.log.read_text()


def test_an_empty_home_stays_empty(server, page):
    assert list(server.home.rglob("*")) == []
