"""The page in a real browser: what it shows is shown, its players play, and names of files do nothing.

Looks for Chromium under the name in the environment variable PARTAE_CHROMIUM, else as chromium, chromium-browser or
google-chrome; skipped where there is none.
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

PATIENCE = 180  # seconds; 5 do where little else runs, and 60 were too few where twenty processes did
# Run in a copy of the page: waits for all media, plays the second player from where the first stands, and notes it.
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
        if found := shutil.which(name):
            return found
    return pytest.skip("no Chromium is on this machine; PARTAE_CHROMIUM may name one")


def command(chromium, folder, width):
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--autoplay-policy=no-user-gesture-required", f"--user-data-dir={folder / 'profile'}"]
    return [chromium, *flags, f"--window-size={width},2000"]


def probed(chromium, html, folder, width):
    """What `PROBE` found in the page, which a server of this process hands out and hears from."""
    found = queue.Queue()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            if self.path == "/page":
                self.wfile.write(html.encode())

        def do_POST(self):
            found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.do_GET()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/page"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([*command(chromium, folder, width), address], **quiet) as browser:
            try:
                return found.get(timeout=PATIENCE)
            finally:
                browser.kill()  # asked to end, it takes its time where the machine is busy
                server.shutdown()


def test_players_load_and_play_and_nothing_else_runs(chromium, here):
    os.rename("song.wav", HOSTILE)
    files.write("bats.wav", sound(1, (0.2, 0.4), rate=192_000), 192_000)
    write_page("a.html", "m.safetensors", [HOSTILE, "bats.wav"], slower=2.0)
    html = (here / "a.html").read_text().replace("</body>", PROBE + "</body>")
    html = html.replace("default-src 'none'", "default-src 'none'; connect-src 'self'")  # for the probe's answer alone
    found = probed(chromium, html, here, width=500)
    assert found["durations"] == pytest.approx([6.0] * 3 + [2.0] * 3, abs=0.01)
    assert found["errors"] == [None] * 6 and found["injected"] is None
    assert found["images"] == [1440, 1440]
    assert 5 < float(found["moved"].rstrip("%")) < 50  # a quarter of the time axis
    assert found["first"] and not found["second"] and found["at"] >= 1.5  # one plays, on from where the other was
    assert found["width"] <= 500  # nothing but the picture scrolls sideways


def test_it_can_be_looked_at(chromium, here):
    """A screenshot has the dark panels of the spectrograms, in the middle of a white page."""
    import numpy as np
    from PIL import Image

    write_page("a.html", "m.safetensors", ["song.wav"])
    place = [f"--screenshot={here / 'shot.png'}", "--hide-scrollbars", (here / "a.html").as_uri()]
    subprocess.run([*command(chromium, here, 1000), *place], capture_output=True, timeout=PATIENCE, check=True)
    shot = np.asarray(Image.open(here / "shot.png").convert("L"), float)
    assert shot.shape == (2000, 1000) and (shot[:, :10] > 250).mean() > 0.99
    assert (shot[:, 300] < 40).sum() > 150
