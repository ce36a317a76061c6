"""`app.py` as a visitor meets it: a server of its own, and a real browser without a screen."""

import base64
import io
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

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

TEST = sorted((PROJECT / "data" / "test").glob("*.png"))
PATIENCE = 120  # seconds; usually one is enough
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync"
    " --disable-background-networking --disable-component-update --window-size=1280,1100"
)
NAME = "<img src=x onerror=document.title='hacked'><b>bold</b>.png"


def post(address, size, headers=None):
    """Post a body of zeros and return the status."""
    request = urllib.request.Request(address, b"0" * size, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def is_open(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of the page, its log, and the folder where Gradio would store uploads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    log, stored = folder / "log", folder / "stored"
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(stored)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=PROJECT, env=environment, stdout=output, stderr=output
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        until = time.monotonic() + 5 * PATIENCE
        while not is_open(port):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield address, log, stored
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
    browser.get(server[0])
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
    page.slide("Refuse", Keys.END)
    page.says("Refused")
    assert page.digits() == "37463"
    page.slide("Refuse", Keys.HOME)
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
        pen.move_to_element_with_offset(canvas, 100 * (place - 2), -60)
        pen.click_and_hold().move_by_offset(0, 60).move_by_offset(0, 60).release().perform()
    page.reads("11111")


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
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    page.upload(tmp_path / "huge.png")
    page.says("20000 x 20000 pixels is not a size we read")


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
    address, _, stored = server
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert post(address + "gradio_api/upload", 10, form) == 403
    assert post(address + "gradio_api/component_server", 10) == 403
    assert post(address + "gradio_api/queue/join", 7_000_000) == 413
    assert post(address + "gradio_api/queue/join", 10, {"Transfer-Encoding": "chunked"}) == 413
    assert post(address + "gradio_api/queue/join", 10) not in (403, 413)
    assert [path for path in stored.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_fits_the_screen_and_asks_no_other_host(page, server, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.browser.get(server[0])
    page.reads("37463")
    assert page.browser.execute_script("return document.documentElement.scrollWidth") == width
    names = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert names and all(name.startswith((server[0], "data:", "blob:")) for name in names)
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_500_mutated_pictures_get_an_answer_or_a_reason():
    import app

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
        shown, answer, steps = app.on_picture(url, 0.9)
        assert (shown is None) == (steps == "")
        if shown is None:
            reasons += 1
            assert "This file cannot be read." in answer
        else:
            answers += 1
            assert answer.count("<li>") == 5
    assert answers > 20 and reasons > 20


@pytest.mark.parametrize(
    "picture", [None, 7, {"path": "/etc/passwd"}, [], "", ",", ",A", "<b>,<b>"]
)
def test_events_of_another_shape_get_a_reason(picture):
    import app

    shown, answer, steps = app.on_picture(picture, 0.9)
    assert shown is None and steps == "" and "message" in answer and "<b>" not in answer


def test_the_server_wrote_no_traceback(server):
    assert "Traceback" not in server[1].read_text()
