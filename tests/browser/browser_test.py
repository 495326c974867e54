"""Pages opened in headless Chromium: every chart is drawn with the data's proportions, nothing is said on the console,
nothing is fetched, light and dark can be read, the buttons save, and it prints.

Invariant: what is expected follows from the formulas of sample_page.cpp, not from what the pages themselves say.
"""
import csv
import os
import re
import subprocess
import unittest

from browser import BLUE, DARK, LIGHT, ORANGE, BrowserCase, chromium, contrast, crowded, luminance, probe

SAMPLE_PAGE = os.environ["RESIDUUM_SAMPLE_PAGE"]


class BrowserTest(BrowserCase):
    """One page with everything, made once."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
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

    def test_no_text_stands_on_another(self):
        for look, found in self.looks.items():
            for figure in found["figures"]:
                self.assertEqual(crowded(figure), [], (look, figure["title"]))

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


if __name__ == "__main__":
    unittest.main()
