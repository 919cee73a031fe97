"""The page in Chromium: images, players and hostile file names.

The browser is the program in the environment variable PARTAE_CHROMIUM, or chromium, chromium-browser or google-chrome;
the tests are skipped without one.
"""

import json
import os
import queue
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from partae_fast.audio import files
from partae_fast.report.page import write_page

from .conftest import sound
from .test_page import HOSTILE

TIMEOUT = 180  # seconds; 5 suffice on an idle machine, and 60 were too few with twenty other processes
# A script in a copy of the page, which waits for all media, plays the second player from the position of the first, and
# sends the state.
PROBE = """<script>
const media = [...document.querySelectorAll("audio")];
const loaded = player => player.readyState >= 1 || player.error ? Promise.resolve()
  : new Promise(done => { player.onloadedmetadata = player.onerror = done; });
const later = ms => new Promise(done => setTimeout(done, ms));
Promise.all(media.map(loaded)).then(async () => {
  const sought = new Promise(done => { media[0].onseeked = done; });
  media[0].currentTime = 1.5;
  await sought;
  const moved = document.querySelector(".head").style.left;
  media[0].muted = media[1].muted = true;
  await media[0].play();
  await media[1].play();
  while (!media[0].paused || media[1].currentTime < 1.5) await later(50);
  fetch("/found", {method: "POST", body: JSON.stringify({
    durations: media.map(player => player.duration), errors: media.map(player => player.error && player.error.message),
    images: [...document.images].map(image => image.naturalWidth), injected: window.injected ?? null, moved,
    first: media[0].paused, second: media[1].paused, at: media[1].currentTime,
    width: document.documentElement.scrollWidth,
  })});
});
</script>"""


@pytest.fixture(scope="session")
def chromium():
    names = [os.environ.get("PARTAE_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]
    for name in filter(None, names):
        if path := shutil.which(name):
            return path
    return pytest.skip("no Chromium on this machine; PARTAE_CHROMIUM may name one")


def command(chromium, folder, width):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--autoplay-policy=no-user-gesture-required", f"--user-data-dir={folder / 'profile'}"]
    return [chromium, *flags, f"--window-size={width},2000"]


def probe(chromium, html, folder, width):
    """Serve the page to a browser and return the state that `PROBE` sends."""
    states = queue.Queue()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            if self.path == "/page":
                self.wfile.write(html.encode())

        def do_POST(self):
            states.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.do_GET()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/page"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([*command(chromium, folder, width), address], **quiet) as browser:
            try:
                return states.get(timeout=TIMEOUT)
            finally:
                browser.kill()  # terminate would be slow on a busy machine
                server.shutdown()


def test_players_load_and_play_and_nothing_else_runs(chromium, here):
    os.rename("song.wav", HOSTILE)
    files.write("bats.wav", sound(1, (0.2, 0.4), rate=192_000), 192_000)
    write_page("a.html", "m.safetensors", [HOSTILE, "bats.wav"], slower=2.0)
    html = (here / "a.html").read_text().replace("</body>", PROBE + "</body>")
    html = html.replace("default-src 'none'", "default-src 'none'; connect-src 'self'")  # lets the probe send its state
    state = probe(chromium, html, here, width=500)
    assert state["durations"] == pytest.approx([6.0] * 3 + [2.0] * 3, abs=0.01)
    assert state["errors"] == [None] * 6 and state["injected"] is None
    assert state["images"] == [1440, 1440]
    assert 5 < float(state["moved"].rstrip("%")) < 50  # a quarter of the time axis
    assert state["first"] and not state["second"] and state["at"] >= 1.5  # the second continues from the first
    assert state["width"] <= 500  # only the picture scrolls sideways


def test_a_screenshot_shows_the_spectrograms(chromium, here):
    """The dark panels of the spectrograms are in the middle of a white page."""
    import numpy as np
    from PIL import Image

    write_page("a.html", "m.safetensors", ["song.wav"])
    arguments = [f"--screenshot={here / 'shot.png'}", "--hide-scrollbars", (here / "a.html").as_uri()]
    subprocess.run([*command(chromium, here, 1000), *arguments], capture_output=True, timeout=TIMEOUT, check=True)
    shot = np.asarray(Image.open(here / "shot.png").convert("L"), float)
    assert shot.shape == (2000, 1000) and (shot[:, :10] > 250).mean() > 0.99
    assert (shot[:, 300] < 40).sum() > 150
