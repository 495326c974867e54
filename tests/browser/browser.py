"""What tests of pages share: headless Chromium without a network, what probe.js finds on pages, contrast.

Invariant: standard library only; nothing here knows what a page should hold.
"""
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

PROBE = (pathlib.Path(__file__).parent / "probe.js").read_text()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DARK = ("--blink-settings=preferredColorScheme=0",)
LIGHT = ("--blink-settings=preferredColorScheme=1",)
# The first series colours of charts.js.
BLUE, ORANGE = {"light": "#0072b2", "dark": "#5db3f0"}, {"light": "#d55e00", "dark": "#f5a35c"}


class BrowserCase(unittest.TestCase):
    """Tests that share a folder, cls.folder; skipped where there is no Chromium."""

    @classmethod
    def setUpClass(cls):
        if CHROMIUM is None:
            raise unittest.SkipTest("Chromium is not installed")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="residuum-browser-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)


def chromium(folder, *arguments):
    """Runs Chromium without a network; returns what it printed and the lines of the page's console."""
    process = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", "--window-size=1200,900",
         "--virtual-time-budget=4000", "--enable-logging=stderr", *arguments],
        capture_output=True, text=True, timeout=120, check=False)
    return process.stdout, [line for line in process.stderr.splitlines() if "CONSOLE" in line]


def with_probe(page, press=True):
    """The text of a page that probes itself, and presses its buttons."""
    html = page.read_text()
    assert html.rstrip().endswith("</body>\n</html>"), "a page ends with its body"
    script = f"<script>const pressButtons = {str(press).lower()};\n{PROBE}</script>"
    return html.replace("</body>\n</html>", script + "</body>\n</html>")


def found_by_probe(folder, page, *arguments):
    dom, console = chromium(folder, *arguments, "--dump-dom", page.as_uri())
    found = re.search(r'<script type="application/json" id="probe">(.*?)</script>', dom, re.DOTALL)
    assert found, f"the probe did not end: {console}"
    return json.loads(found.group(1)), console


def probe(folder, page, *arguments):
    """What probe.js found on a page, and the console."""
    copy = folder / "probed.html"
    copy.write_text(with_probe(page))
    return found_by_probe(folder, copy, *arguments)


def luminance(colour):
    """WCAG 2's relative luminance of "#rrggbb" or "rgb(r, g, b)"."""
    parts = ([int(colour[i:i + 2], 16) for i in (1, 3, 5)] if colour.startswith("#")
             else [int(part) for part in re.findall(r"\d+", colour)[:3]])
    linear = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


OPEN_ALL = """<script>
const element = document.getElementById('pages'), pages = Object.entries(JSON.parse(element.textContent)), answers = {};
element.remove();
for (const [name, html] of pages) {
  const frame = document.createElement('iframe');
  frame.width = WIDTH;
  frame.height = 900;
  frame.addEventListener('load', () => {
    answers[name] = JSON.parse(frame.contentDocument.getElementById('probe').textContent);
    if (Object.keys(answers).length < pages.length) return;
    const found = document.createElement('script');
    found.type = 'application/json';
    found.id = 'probe';
    found.textContent = JSON.stringify(answers).replaceAll('<', '\\u003c');
    document.body.append(found);
  });
  frame.srcdoc = html;
  document.body.append(frame);
}
</script>"""


def probe_all(folder, pages, pressed, *arguments, width=1200):
    """The same of several pages (name -> file) in one browser, each in a frame: name -> what was found, and the console.

    Buttons are pressed on the pages `pressed` alone.
    """
    texts = json.dumps({name: with_probe(page, name in pressed) for name, page in pages.items()}).replace("<", "\\u003c")
    outer = folder / "all.html"
    outer.write_text('<!DOCTYPE html><html><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
                     f'</head><body><script type="application/json" id="pages">{texts}</script>{OPEN_ALL.replace("WIDTH", str(width))}</body></html>')
    return found_by_probe(folder, outer, *arguments)


def crowded(figure):
    """Pairs of texts of a figure that stand on each other, and texts that leave it. A tilted text's box says little."""
    level = [text for text in figure["texts"] if not text["tilted"] and text["text"].strip()]
    place, wrong = figure["place"], []
    for i, a in enumerate(level):
        if a["x"] < place["x"] - 1 or a["x"] + a["width"] > place["x"] + place["width"] + 1:
            wrong.append((a["text"], "leaves the figure"))
        for b in level[i + 1:]:
            if (a["x"] + a["width"] > b["x"] + 1 and b["x"] + b["width"] > a["x"] + 1 and
                    a["y"] + a["height"] > b["y"] + 3 and b["y"] + b["height"] > a["y"] + 3):
                wrong.append((a["text"], b["text"]))
    return wrong
