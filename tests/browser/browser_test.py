"""Pages opened in headless Chromium: every chart is drawn with the data's proportions, nothing is said on the console,
nothing is fetched, light and dark can be read, the buttons save, and it prints.

Invariant: what is expected follows from the formulas of sample_page.cpp, not from what the pages themselves say.
"""
import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).parent.parent))
from cli_program import SMALL_RECIPE, run, write_idx  # noqa: E402: of the tests of the program

SAMPLE_PAGE = os.environ["RESIDUUM_SAMPLE_PAGE"]
PROBE = (pathlib.Path(__file__).parent / "probe.js").read_text()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DARK = ("--blink-settings=preferredColorScheme=0",)
LIGHT = ("--blink-settings=preferredColorScheme=1",)
# Series colours of page.js.
BLUE, ORANGE = {"light": "#0072b2", "dark": "#5db3f0"}, {"light": "#d55e00", "dark": "#f5a35c"}


def chromium(folder, *arguments):
    """Runs Chromium without a network; returns what it printed and the lines of the page's console."""
    process = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", "--window-size=1200,900",
         "--virtual-time-budget=4000", "--enable-logging=stderr", *arguments],
        capture_output=True, text=True, timeout=120, check=False)
    return process.stdout, [line for line in process.stderr.splitlines() if "CONSOLE" in line]


def probe(folder, page, *arguments):
    """What probe.js found on a page, and the console."""
    html = page.read_text()
    assert html.rstrip().endswith("</body>\n</html>"), "a page ends with its body"
    copy = folder / "probed.html"
    copy.write_text(html.replace("</body>\n</html>", f"<script>{PROBE}</script></body>\n</html>"))
    dom, console = chromium(folder, *arguments, "--dump-dom", copy.as_uri())
    found = re.search(r'<script type="application/json" id="probe">(.*?)</script>', dom, re.DOTALL)
    assert found, f"the probe did not end: {console}"
    return json.loads(found.group(1)), console


def luminance(colour):
    """WCAG 2's relative luminance of "#rrggbb" or "rgb(r, g, b)"."""
    parts = ([int(colour[i:i + 2], 16) for i in (1, 3, 5)] if colour.startswith("#")
             else [int(part) for part in re.findall(r"\d+", colour)[:3]])
    linear = [c / 255 / 12.92 if c / 255 <= 0.03928 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


class BrowserTest(unittest.TestCase):
    """One page with everything, made once."""

    @classmethod
    def setUpClass(cls):
        if CHROMIUM is None:
            raise unittest.SkipTest("Chromium is not installed")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="residuum-browser-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.page = cls.folder / "page.html"
        made = subprocess.run([SAMPLE_PAGE, cls.page, cls.folder / "csv"], capture_output=True, text=True, check=False)
        if "no chart library" in made.stderr:
            raise unittest.SkipTest("this build has no chart library")
        assert made.returncode == 0, made.stderr
        cls.looks = {}
        for look, arguments in (("light", LIGHT), ("dark", DARK)):
            cls.looks[look], console = probe(cls.folder, cls.page, *arguments)
            assert not console, console

    def figure(self, title, look="light"):
        return next(figure for figure in self.looks[look]["figures"] if figure["title"] == title)

    def shapes(self, title, fill, look="light", smallest=3):
        """Shapes of that colour, without the legend's at the top left."""
        shapes = [s for s in self.figure(title, look)["shapes"]
                  if s["fill"] == fill and s["width"] >= smallest and s["height"] >= smallest]
        legend = min(s["y"] for s in self.figure(title, look)["shapes"] if s["fill"] == fill)
        return sorted((s for s in shapes if s["y"] > legend + 15), key=lambda s: (s["x"], s["y"]))

    def test_every_figure_is_drawn(self):
        for look, found in self.looks.items():
            self.assertEqual(found["charts"], "7")
            for figure in found["figures"]:
                with self.subTest(look=look, figure=figure["title"]):
                    self.assertGreater(figure["width"], 600)
                    self.assertGreater(max(len(figure["shapes"]), figure["colours"]), 30)
            self.assertEqual([f["title"] for f in found["figures"] if f["colours"]], ["Differences"])

    def test_nothing_is_fetched(self):
        for found in self.looks.values():
            self.assertEqual(found["loaded"], [])
        self.assertIsNone(re.search(r"""(src|href)\s*=\s*["']?(https?:|//)""", self.page.read_text().split("<main>")[1]
                                    .split("</main>")[0]))

    def test_bars_are_as_high_as_their_values(self):
        for look in ("light", "dark"):
            bars = self.shapes("Time per layer", BLUE[look], look, smallest=10)
            self.assertEqual(len(bars), 4)
            for bar, value in zip(bars, (1.2, 2.4, 2.0, 1.1)):
                self.assertAlmostEqual(bar["height"] / bars[1]["height"], value / 2.4, delta=0.02)
            self.assertEqual(len({round(bar["y"] + bar["height"]) for bar in bars}), 1, "one ground line")

    def test_points_lie_where_logarithmic_axes_put_them(self):
        points = self.shapes("Under the roof", BLUE["light"])
        self.assertEqual(len(points), 12)
        self.assertEqual(len(self.shapes("Under the roof", ORANGE["light"])), 12)
        steps = [b["x"] - a["x"] for a, b in zip(points, points[1:])]
        self.assertLess(max(steps) - min(steps), 0.5, "intensities grow by one factor, so steps are equal")
        rises = [a["y"] - b["y"] for a, b in zip(points, points[1:])]
        self.assertGreater(rises[0], 5)
        self.assertAlmostEqual(rises[0], rises[5], delta=0.5)
        self.assertAlmostEqual(rises[-1], 0, delta=0.1)

    def test_bins_touch(self):
        bins = self.shapes("Weights", ORANGE["light"], smallest=1)
        self.assertEqual(len(bins), 60)
        for left, right in zip(bins, bins[1:]):
            self.assertAlmostEqual(left["x"] + left["width"], right["x"], delta=2)

    def test_heat_map_has_a_cell_for_each_value(self):
        cells = [s for s in self.figure("Gradient norms")["shapes"] if s["width"] > 10 and 9 < s["height"] < 20]
        self.assertGreaterEqual(len(cells), 18 * 40 - 1)
        self.assertGreater(len({cell["fill"] for cell in cells}), 100)

    def test_names_are_written(self):
        for title, words in (("Training loss", ("step", "loss", "residual", "plain", "chance", "0.1")),
                             ("Forward and backward", ("layer2.3.conv3", "target")),
                             ("Under the roof", ("copy 3.3 TB/s", "TFLOP/s", "fp32 60 TFLOP/s"))):
            texts = [text["text"] for text in self.figure(title)["texts"]]
            for word in words:
                self.assertIn(word, texts)

    def test_both_looks_can_be_read(self):
        self.assertGreater(luminance(self.looks["light"]["paper"]), 0.9)
        self.assertLess(luminance(self.looks["dark"]["paper"]), 0.05)
        for look, found in self.looks.items():
            for place, ink in found["inks"].items():
                self.assertGreaterEqual(contrast(ink, found["paper"]), 4.5, (look, place, ink))
            for figure in found["figures"]:
                for text in figure["texts"]:
                    self.assertGreaterEqual(contrast(text["fill"], found["paper"]), 4.5, (look, figure["title"], text))
            for colour in (BLUE[look], ORANGE[look]):
                self.assertGreaterEqual(contrast(colour, found["paper"]), 3)

    def test_buttons_save(self):
        files = self.looks["light"]["files"]
        self.assertEqual(len(files), 3 * 7)
        for file in files:
            start = {"csv": "", "svg": "<svg", "png": "\x89PNG\r\n"}[file["name"].rsplit(".", 1)[1]]
            self.assertTrue(file["start"].startswith(start), file)
            self.assertGreater(file["size"], 100)
        self.assertIn("training-loss.csv", [file["name"] for file in files])

    def test_saved_csv_is_the_file_on_request(self):
        sizes = {file["name"]: file["size"] for file in self.looks["light"]["files"] if file["name"].endswith(".csv")}
        for path in (self.folder / "csv").iterdir():
            name = path.name.split("-", 1)[1]
            if name == "kernels.csv":
                continue  # a table: no figure's button saves it
            self.assertEqual(sizes.pop(name), path.stat().st_size, name)
        self.assertEqual(sizes, {})
        with open(next((self.folder / "csv").glob("*time-per-layer.csv")), newline="") as file:
            rows = list(csv.reader(file))
        self.assertEqual(rows[2], ["layer1", "2.4", "2.2", "2.6", "2.6", "2.5", "2.9"])

    def test_tables_sort_by_value(self):
        rising = ["conv1", 'conv, "two"', "conv3"]  # 0.12, 10.5, and no value last
        self.assertEqual(self.looks["light"]["sorted"][0], rising)
        self.assertEqual(self.looks["light"]["sorted"][1], rising[::-1])

    def test_prints(self):
        paper = self.folder / "page.pdf"
        _, console = chromium(self.folder, *DARK, f"--print-to-pdf={paper}", self.page.as_uri())
        self.assertEqual(console, [])
        self.assertEqual(paper.read_bytes()[:5], b"%PDF-")


class ProgramPages(unittest.TestCase):
    """What the program itself writes: a run, two runs compared, a computed scaling."""

    @classmethod
    def setUpClass(cls):
        if CHROMIUM is None:
            raise unittest.SkipTest("Chromium is not installed")

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="residuum-browser-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def program(self, *arguments):
        process = run(*arguments)
        if "no chart library" in process.stdout + process.stderr:
            self.skipTest("this build has no chart library")
        self.assertEqual(process.returncode, 0, process.stderr)

    def drawn(self, page, look):
        """The figures of a page by their titles, each with some curve or bar."""
        found, console = probe(self.folder, page, *look)
        self.assertEqual(console, [])
        self.assertEqual(found["charts"], str(len(found["figures"])))
        self.assertEqual(found["loaded"], [])
        for figure in found["figures"]:
            marks = [s for s in figure["shapes"] if s["width"] > 100 or s["height"] > 100]
            self.assertGreater(len(marks), 5, figure["title"])
        return {figure["title"]: figure for figure in found["figures"]}

    def test_runs(self):
        data = write_idx(self.folder / "data")
        recipe = self.folder / "small.toml"
        recipe.write_text(SMALL_RECIPE)
        for name, seed in (("a", 1), ("b", 2)):
            self.program("train", recipe, "--data", data, "--seed", seed, "--out", self.folder / name)
        alone = self.drawn(self.folder / "a" / "report.html", LIGHT)
        self.assertEqual(set(alone), {"Loss", "Top-1 accuracy", "Learning rate", "Gradient norm", "Throughput",
                                      "Waiting for data"})
        self.assertLessEqual({"training", "test", "step"}, {text["text"] for text in alone["Loss"]["texts"]})
        self.program("report", self.folder / "a", self.folder / "b", "--out", self.folder / "both.html")
        both = self.drawn(self.folder / "both.html", DARK)
        self.assertLessEqual({"a", "b"}, {text["text"] for text in both["Loss, test"]["texts"]})

    def test_scaling(self):
        page = self.folder / "scaling.html"
        self.program("plan", "cifar_resnet8", "--device", "cpu", "--gpus", 64, "--network", "nvlink4+ib400x8", "--chip",
                     "bytes=1TB/s,flops=100TFLOP/s", "--html", page)
        self.assertEqual(set(self.drawn(page, LIGHT)), {"Efficiency", "Throughput", "The step"})


if __name__ == "__main__":
    unittest.main()
