"""Every kind of page that the program writes, made by small runs of it and opened in headless Chromium, light and dark:
each figure has the shapes its data want, tables stand beside what is published, nothing overlaps, nothing is fetched.

Invariant: what must be drawn follows from the CSV files the program writes, not from what the page's script says.
"""
import csv
import io
import os
import pathlib
import re
import shutil
import sys
import unittest

from browser import DARK, LIGHT, BrowserCase, chromium, contrast, crowded, probe_all

sys.path.append(str(pathlib.Path(__file__).parent.parent / "program"))
from cli_program import SMALL_RECIPE, SOURCE, run, write_idx  # noqa: E402: of the tests of the program

# charts.js: the colours of series, in their order.
COLOURS = {"light": ["#0072b2", "#d55e00", "#00805c", "#b8508f", "#a66f00", "#3a8fc2", "#6b5bb5", "#5a616b"],
           "dark": ["#5db3f0", "#f5a35c", "#3fcf9f", "#f0a0cc", "#f0d64a", "#9fd8ff", "#b9a9f5", "#b8bfc9"]}
MOST_SYMBOLS = 30  # points of a line that are drawn as symbols

# Each page and its figures.
CURVES = ["Gradient norm", "Learning rate", "Loss", "Throughput", "Top-1 accuracy", "Waiting for data"]
BOTH = ["Gradient norm", "Learning rate", "Loss, test", "Loss, training", "Throughput", "Top-1 accuracy, test",
        "Top-1 accuracy, training", "Waiting for data"]
COMPARED = ["Test error", "Test error beside the printed one", "Training error", "Training loss"]
FIGURES = {
    "train": CURVES,
    "report": BOTH,
    "lesion": ["Error without each part", "Error without several parts"],
    "shuffle": ["Error against order"],
    "paths": ["Gradient of a path", "Paths by length", "Share of all gradient"],
    "count": ["Paths by length"],
    "gradients": ["Branch over shortcut", "Output gradients", "Outputs", "Residual stream", "Weight gradients",
                  "Weight gradients over training", "Weights"],
    "response": ["Standard deviation of layer responses"],
    "iteration": ["Estimation error"],
    "lambda": ["Scale of each block's shortcut"],
    "singularities": ["Effective rank", "Overlap of units", "Tied units in training"],
    "pairing": ["First and last convolution", "Pairing of each layer"],
    "degradation": COMPARED,
    "table1": COMPARED,
    "table2": COMPARED,
    "plan": ["Efficiency", "The step", "Throughput"],
    "kernels": ["Roofline", "conv", "conv_backward_filter"],
    "results": ["Images per second"],
}
NARROW = ("lesion", "singularities", "table1", "kernels", "report")  # also opened as wide as a telephone
SAVED = ("report", "pairing", "table2")  # pages whose buttons are pressed
# What stands in a page's tables, from the papers.
PUBLISHED = {
    "train": ["91.25", "He 2015, table 6: CIFAR-10"],
    "report": ["91.25"],
    "paths": ["Veit 2016", "5 to 17 modules", "0.45 %"],
    "degradation": ["He 2015, table 6", "8.75"],
    "table1": ["6.61", "12.35", "12.22", "fails"],
    "table2": ["6.61", "8.17", "7.84", "6.71", "6.37"],
}


def numbers(words):
    return [float(word) for word in words if word not in ("", "-")]


class Wanted:
    """What a figure's CSV says must be drawn: how many marks in series colours, or curves too long for symbols."""

    def __init__(self, figure):
        head, *rows = list(csv.reader(io.StringIO(figure["csv"])))
        self.kind = "bars"
        if head[0] == "distribution":
            self.kind, self.marks = "bins", sum(float(row[3]) > 0 for row in rows)
        elif " / " in head[0]:
            self.kind, self.marks = "cells", sum(len(numbers(row[1:])) for row in rows)
        elif head[0] == "series":
            self.kind = "points"
            names = {row[0] for row in rows} - set(figure["bare"])
            counts = {name: [row for row in rows if row[0] == name] for name in names}
            placed = {name: [row for row in own if row[1] and row[2] and not (figure["logarithmic"] and float(row[2]) <= 0)]
                      for name, own in counts.items()}
            short = [own for name, own in placed.items() if len(counts[name]) <= MOST_SYMBOLS]
            self.marks, self.curves = sum(map(len, short)), len(names) - len(short)
        else:
            bounds = [i for i, name in enumerate(head) if name.endswith((" low", " high"))]
            self.marks = sum(len(numbers(word for i, word in enumerate(row) if i > 0 and i not in bounds)) for row in rows)


class ProgramPages(BrowserCase):
    """All pages are made once and opened once in each look."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pages = cls.make_pages()
        cls.found = {}
        for look, arguments in (("light", LIGHT), ("dark", DARK)):
            cls.found[look], console = probe_all(cls.folder, cls.pages, SAVED if look == "light" else (), *arguments)
            assert not console, console
        narrow = {name: cls.pages[name] for name in NARROW}
        cls.narrow, console = probe_all(cls.folder, narrow, (), *LIGHT, width=390)
        assert not console, console

    @classmethod
    def program(cls, *arguments):
        process = run(*arguments)
        if "no chart library" in process.stdout + process.stderr:
            raise unittest.SkipTest("this build has no chart library")
        assert process.returncode == 0, process.stderr

    @classmethod
    def make_pages(cls):
        """Page name -> file."""
        folder, data = cls.folder, write_idx(cls.folder / "data")
        recipe = folder / "small.toml"
        recipe.write_text(SMALL_RECIPE)
        pages = {"train": folder / "run" / "report.html", "report": folder / "both.html",
                 "count": folder / "count" / "paths.html"}
        trained = folder / "run"
        cls.program("train", recipe, "--model", "cifar_resnet20", "--data", data, "--steps", 4, "--set", "train.epochs=0",
                    "--out", trained)
        cls.program("train", recipe, "--model", "cifar_plain14", "--data", data, "--out", folder / "plain")
        cls.program("report", trained, folder / "plain", "--out", pages["report"], "--csv", folder / "csv", "--png",
                    folder / "png")
        for verb, more in (("lesion", ("--delete", "1,3")), ("shuffle", ()), ("paths", ("--batch", 8, "--samples", 2)),
                           ("gradients", ("--batch", 8, "--steps", 4, "--every", 2)), ("response", ("--batch", 8)),
                           ("iteration", ("--batch", 8)), ("lambda", ("--batch", 8)), ("singularities", ("--tie-steps", 2)),
                           ("pairing", ("--png",))):
            cls.program("lab", verb, "--run", trained, "--out", folder / "lab", *more)
            pages[verb] = folder / "lab" / f"{verb}.html"
        cls.program("lab", "paths", "--model", "cifar_resnet110", "--count-only", "--out", folder / "count")
        small = ("--data", data, "--steps", 4, "--batch", 16, "--train-images", 64, "--test-images", 40, "--device", "cpu")
        for verb, more in (("degradation", ("--depths", "8,20", "--seeds", 2)), ("table1", ("--depth", 8)),
                           ("table2", ("--depth", 8))):
            cls.program("lab", verb, *small, *more, "--out", folder / verb)
            pages[verb] = folder / verb / f"{verb}.html"
        pages["plan"], pages["kernels"] = folder / "scaling.html", folder / "kernels.html"
        cls.program("plan", "cifar_resnet8", "--device", "cpu", "--gpus", "8,64", "--network", "nvlink4+ib400x8", "--chip",
                    "bytes=1TB/s,flops=100TFLOP/s", "--html", pages["plan"])
        cls.program("bench", "kernels", "--shapes", SOURCE / "bench" / "shapes" / "tests.txt", "--op",
                    "conv,conv_backward_filter", "--device", "cpu", "--html", pages["kernels"])
        results = folder / "results"
        results.mkdir()
        shutil.copy(SOURCE / "bench" / "results" / "cpu_step.json", results)
        pages["results"] = folder / "results.html"
        cls.program("bench", "report", results, "--html", pages["results"])
        return pages

    def each_figure(self, examine):
        for look, pages in self.found.items():
            for name, page in pages.items():
                for figure in page["figures"]:
                    with self.subTest(look=look, page=name, figure=figure["title"]):
                        examine(look, page, figure)

    def test_every_page_has_its_figures(self):
        for look, pages in self.found.items():
            self.assertEqual(set(pages), set(FIGURES))
            for name, page in pages.items():
                with self.subTest(look=look, page=name):
                    self.assertEqual(sorted(figure["title"] for figure in page["figures"]), FIGURES[name])
                    self.assertEqual(page["charts"], str(len(FIGURES[name])))
                    self.assertEqual(page["loaded"], [])

    def test_figures_have_a_mark_for_each_value(self):
        def examine(look, _, figure):
            wanted, place = Wanted(figure), figure["place"]
            # Marks lie below the legend, whose names those of the series are; bare lines are named beside them.
            names = {row.split(",")[0].strip('"') for row in figure["csv"].splitlines()[1:]} - set(figure["bare"])
            legend = [t["y"] + t["height"] for t in figure["texts"] if t["text"] in names and t["y"] < place["y"] + 100]
            top = max(legend, default=place["y"] + 24) if wanted.kind in ("points", "bins") else place["y"] + 24
            own = [s for s in figure["shapes"] if {s["fill"], s["stroke"]} & set(COLOURS[look]) and s["y"] > top - 2]
            if wanted.kind == "points":
                marks = [s for s in own if max(s["width"], s["height"]) <= 14 and min(s["width"], s["height"]) > 2]
                self.assertEqual(len(marks), wanted.marks)
                curves = [s for s in own if s["stroke"] != "none" and s["width"] > 100]
                self.assertGreaterEqual(len(curves), wanted.curves)
            elif wanted.kind == "cells":
                cells = [s for s in figure["shapes"] if s["width"] > 20 and 8 < s["height"] < 40 and s["fill"] != "none"]
                self.assertGreaterEqual(len(cells), wanted.marks)
            else:
                self.assertEqual(len([s for s in own if s["width"] > 0.5 and s["height"] > 0]), wanted.marks)
        self.each_figure(examine)

    def test_axes_are_named_and_no_text_stands_on_another(self):
        def examine(_, __, figure):
            self.assertEqual(crowded(figure), [])
            head = next(csv.reader(io.StringIO(figure["csv"])))
            texts = [text["text"] for text in figure["texts"]]
            for axis in head[1:3] if head[0] == "series" else re.split(" / |: ", head[0]):
                if axis != "distribution":
                    self.assertIn(axis, texts)
        self.each_figure(examine)

    def test_narrow_pages_keep_texts_apart(self):
        for name, page in self.narrow.items():
            for figure in page["figures"]:
                with self.subTest(page=name, figure=figure["title"]):
                    self.assertLess(figure["width"], 390)
                    self.assertFalse(figure["covered"], "the buttons stand on the title")
                    self.assertEqual(crowded(figure), [])

    def test_both_looks_can_be_read(self):
        def examine(_, page, figure):
            for text in figure["texts"]:
                self.assertGreaterEqual(contrast(text["fill"], page["paper"]), 4.5, text)
        self.each_figure(examine)
        for look, pages in self.found.items():
            for name, page in pages.items():
                for place, ink in page["inks"].items():
                    if ink:
                        self.assertGreaterEqual(contrast(ink, page["paper"]), 4.5, (look, name, place))

    def test_tables_fit(self):
        for name, page in self.found["light"].items():
            for table in page["tables"]:
                self.assertLessEqual(table["width"], table["room"] + 1, (name, table["title"]))

    def test_published_values_stand_beside(self):
        for name, words in PUBLISHED.items():
            tables = "".join(re.findall(r"<figure class=\"table\">.*?</figure>", self.pages[name].read_text(), re.DOTALL))
            for word in words:
                self.assertIn(word, tables, name)

    def test_recipe_environment_and_command_are_told(self):
        for name in set(FIGURES) - {"train", "report", "plan", "kernels", "results"}:
            text = self.pages[name].read_text()
            for word in ("<summary>Recipe", "[optimizer]", "<summary>Command line", f"lab {name}".replace("count", "paths"),
                         "residuum 0.", "commit ", " UTC"):
                self.assertIn(word, text, name)

    def test_files_on_request_are_those_of_the_buttons(self):
        def sizes(folder, kind):
            return {file.name.split("-", 1)[1]: file.stat().st_size for file in folder.glob(f"*.{kind}")}

        def of_page(name, kind):
            return {file["name"]: file["size"] for file in self.found["light"][name]["files"] if file["name"].endswith(kind)}

        for name, folder in (("report", self.folder), ("pairing", self.folder / "lab")):
            prefix = "" if name == "report" else "pairing-"
            self.assertEqual(sizes(folder / f"{prefix}png", "png"), of_page(name, "png"))
            written = sizes(folder / f"{prefix}csv", "csv")
            self.assertEqual({file: written.get(file) for file in of_page(name, "csv")}, of_page(name, "csv"))
        for file in (self.folder / "png").iterdir():
            self.assertEqual(file.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
            self.assertEqual(file.read_bytes()[16:24], (1920).to_bytes(4, "big") + (960).to_bytes(4, "big"))
            self.assertGreater(file.stat().st_size, 20_000)
        for file, size in of_page("table2", "csv").items():
            self.assertEqual(sizes(self.folder / "table2" / "table2-csv", "csv")[file], size)

    def test_a_browser_that_fails_is_an_error(self):
        broken = self.folder / "broken"
        broken.write_text("#!/bin/sh\necho no display >&2\nexit 7\n")
        broken.chmod(0o755)
        process = run("report", self.folder / "run", "--png", self.folder / "none",
                      env={**os.environ, "RESIDUUM_CHROMIUM": str(broken)})
        self.assertEqual(process.returncode, 6, process.stderr)
        self.assertIn("failed with 7: no display", process.stderr)

    def test_wide_pages_print(self):
        for name in ("kernels", "table1"):
            paper = self.folder / f"{name}.pdf"
            _, console = chromium(self.folder, *DARK, f"--print-to-pdf={paper}", self.pages[name].as_uri())
            self.assertEqual(console, [])
            self.assertEqual(paper.read_bytes()[:5], b"%PDF-")


if __name__ == "__main__":
    unittest.main()
