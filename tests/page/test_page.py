"""`app.py` as a visitor meets it: a server of its own, and a headless browser."""

import base64
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import PROJECT, environment_with_home
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

TEST = sorted((PROJECT / "data" / "test").glob("*.png"))
TIMEOUT = 120  # seconds; usually one is enough
FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking"
JOIN = "gradio_api/queue/join"
SLIDERS = [0.9, "37463", "Overpass", 8, 25, 6, 0, 0, 0]  # as the app starts
FILE_NAME = "<img src=x onerror=document.title='hacked'><b>bold</b>.png"


def post(server, path, content, **headers):
    """Post something and return the status."""
    headers = {"Content-Type": "application/json"} | headers
    request = urllib.request.Request(server.address + path, content, headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with a home of its own, its log, and where Gradio would store uploads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    log, stored, home = folder / "log", folder / "stored", folder / "home"
    home.mkdir()
    environment = environment_with_home(home) | {"MPLCONFIGDIR": str(folder / "matplotlib")}
    environment |= {"GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(stored)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=PROJECT, env=environment, stdout=output, stderr=output
        )
    try:
        until = time.monotonic() + 5 * TIMEOUT
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield SimpleNamespace(address=f"http://127.0.0.1:{port}/", stored=stored, home=home)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS.split(), "--window-size=1280,1100"):
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
        WebDriverWait(self.browser, TIMEOUT, 0.1).until(
            lambda _: condition(), f"shown: {self.answer()!r}"
        )

    def answer(self):
        return self.browser.execute_script(
            "return document.querySelector('div.block.answer')?.innerText ?? ''"
        )

    def digits(self):
        return "".join(re.findall(r"^\d$", self.answer(), re.MULTILINE))

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
        self.find(f"input[type=range][aria-label*='{label}']").send_keys(*keys)


@pytest.fixture
def page(browser, server):
    browser.get(server.address)
    page = Page(browser)
    page.reads("37463")
    return page


def test_every_example_is_read_and_accepted(page):
    examples = page.browser.find_elements(By.CSS_SELECTOR, ".examples button")
    assert len(examples) == 5
    for example in examples:
        example.click()
        page.reads(example.find_element(By.TAG_NAME, "img").get_attribute("alt"))
        assert "Accepted" in page.answer() and page.answer().count("%") == 7


def test_the_reading_follows_number_and_sliders(page):
    posteriors = "return document.querySelector('img[alt=\"CTC posteriors\"]').src"
    before = page.browser.execute_script(posteriors)
    number = page.find("input[type=text], textarea")
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("90817")
    page.reads("90817")
    assert page.browser.execute_script(posteriors) != before
    page.slide("Rotation", Keys.HOME)
    page.slide("Blur", Keys.END)
    page.slide("Noise", Keys.END)
    page.says("Rejected")
    page.slide("Size", Keys.END)
    page.slide("Spacing", Keys.END)
    page.says("does not fit")
    number.send_keys(Keys.BACKSPACE)
    page.says("exactly five digits")


def test_the_threshold_decides_what_is_rejected(page):
    for key, verdict in ((Keys.END, "Rejected"), (Keys.HOME, "Accepted")):
        page.slide("threshold", key)
        page.says(verdict)
        assert page.digits() == "37463"


def test_an_uploaded_photograph_is_read(page, tmp_path):
    Image.open(TEST[5]).resize((640, 320)).save(tmp_path / "plate.jpg")
    page.upload(tmp_path / "plate.jpg")
    page.reads(TEST[5].stem)


def test_pasted_and_dropped(page):
    page.give("paste", ["plate.png"])
    page.reads(TEST[0].stem)
    page.give("drop", ["one.png", "two.png"])
    page.says("Nothing to read")
    assert page.line()
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


def test_a_file_that_is_no_image_is_reported_and_its_name_is_only_text(page, tmp_path):
    path = tmp_path / FILE_NAME.replace("/", "\N{DIVISION SLASH}")
    path.write_text("<b>no image</b>")
    page.upload(path)
    page.says("cannot be read")
    assert page.line() == path.name
    assert page.browser.title == "Plate OCR"
    assert not page.browser.find_elements(By.CSS_SELECTOR, "canvas + p *")


def test_images_that_are_too_large_are_not_read(page, tmp_path):
    Image.new("1", (2_100, 2_000)).save(tmp_path / "pixels.png")
    page.upload(tmp_path / "pixels.png")
    page.says("2100 x 2000 pixels")
    (tmp_path / "huge.png").write_bytes(bytes(5_000_001))
    page.upload(tmp_path / "huge.png")
    page.says("Nothing to read")
    assert "huge.png" in page.line()


def test_an_image_of_nearly_5_mb_is_read(page, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1350, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    assert 4_500_000 < (tmp_path / "large.png").stat().st_size <= 5_000_000
    page.upload(tmp_path / "large.png")
    page.wait(lambda: page.digits() not in ("", "37463"))


def test_a_request_that_is_too_large_is_refused(server):
    assert post(server, JOIN, bytes(7_000_000)) == 413
    chunks = (bytes(100_000) for _ in range(70))  # urllib sends them without a Content-Length
    assert post(server, JOIN, chunks) == 413
    event = {"data": SLIDERS, "fn_index": 3, "session_hash": "after"}
    assert post(server, JOIN, json.dumps(event).encode()) == 200


def test_nothing_is_stored_and_an_empty_home_stays_empty(server, page):
    form = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nab\r\n--x--'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert post(server, "gradio_api/upload", form, **kind) == 413
    image = "data:image/png;base64," + base64.b64encode(TEST[0].read_bytes()).decode()
    event = {"data": [image, 0.9], "fn_index": 0, "session_hash": "image"}
    assert post(server, JOIN, json.dumps(event).encode()) == 200
    assert [path for path in server.stored.rglob("*") if path.is_file()] == []
    assert list(server.home.rglob("*")) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_app_fits_the_screen_and_asks_no_other_host(page, server, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.browser.get(server.address)
    page.reads("37463")
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
    names = page.browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert names and all(name.startswith((server.address, "data:", "blob:")) for name in names)
    page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
