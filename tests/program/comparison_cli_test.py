"""residuum lab degradation, table1 and table2 on made-up images: results, files, what is kept and what is refused."""
import csv
import json
import unittest

from cli_program import ProgramTest, run, write_idx

CONFIG, USAGE = 3, 2
SMALL = ("--steps", 4, "--batch", 16, "--train-images", 64, "--test-images", 40, "--device", "cpu", "--threads", 2)


class Comparison(ProgramTest):
    def setUp(self):
        super().setUp()
        self.data = write_idx(self.folder / "data")

    def compare(self, verb, out, *options):
        return run("lab", verb, "--data", self.data, "--out", self.folder / out, *SMALL, "--json", *options)

    def rows(self, file):
        with file.open(encoding="utf-8") as lines:
            return list(csv.DictReader(lines))

    def test_degradation_writes_results_and_keeps_them(self):
        options = ("--depths", "8,14", "--seeds", 2)
        first = self.json_of(self.compare("degradation", "out", *options))
        self.assertEqual([case["name"] for case in first["cases"]], ["plain-8", "plain-14", "resnet-8", "resnet-14"])
        for case in first["cases"]:
            self.assertEqual([one["seed"] for one in case["runs"]], [1, 2])
            errors = [one["train_error"] for one in case["runs"]]
            self.assertAlmostEqual(case["train_error"]["mean"], sum(errors) / 2)
            self.assertAlmostEqual(case["train_error"]["std"], abs(errors[0] - errors[1]) / 2 ** 0.5)
            self.assertEqual(case["runs"][0]["curve"][-1]["step"], 4)
        out = self.folder / "out"
        self.assertEqual(json.loads((out / "degradation.json").read_text()), first)
        self.assertEqual(len(self.rows(out / "degradation.csv")), 4)
        self.assertEqual({row["seed"] for row in self.rows(out / "curves.csv")}, {"1", "2"})
        kept = (out / "runs" / "plain-8" / "seed-1" / "metrics.jsonl").stat().st_mtime_ns

        again = self.compare("degradation", "out", *options)
        self.assertEqual(self.json_of(again), first)
        self.assertEqual(again.stderr.count("finished before"), 8)
        self.assertEqual((out / "runs" / "plain-8" / "seed-1" / "metrics.jsonl").stat().st_mtime_ns, kept)

        more = self.compare("degradation", "out", "--depths", "8", "--seeds", 3)
        self.assertEqual(more.stderr.count("finished before"), 4)
        self.assertEqual(len(self.json_of(more)["cases"][0]["runs"]), 3)

        self.assert_refused(self.compare("degradation", "out", *options, "--random-labels"), CONFIG, "other data")

    def test_tables_have_every_row_of_the_paper(self):
        shortcuts = self.json_of(self.compare("table1", "one", "--depth", 8))
        printed = {case["name"]: case["published"] for case in shortcuts["cases"]}
        self.assertEqual(len(printed), 11)
        self.assertEqual(printed["exclusive gating, bias -6"], 8.7)
        self.assertIsNone(printed["dropout shortcut 0.5"])
        self.assertTrue(all(case["published_failure"] == (case["published"] is None) for case in shortcuts["cases"]))
        losses = {case["train_loss"]["mean"] for case in shortcuts["cases"]}
        self.assertEqual(len(losses), 11, "every row is another net")

        placements = self.json_of(self.compare("table2", "two", "--depth", 14))
        self.assertEqual([case["published"] for case in placements["cases"]], [6.61, 8.17, 7.84, 6.71, 6.37])
        losses = {case["train_loss"]["mean"] for case in placements["cases"]}
        self.assertEqual(len(losses), 5, "blocks behind others tell the placements apart")

    def test_refusals(self):
        self.assert_refused(self.compare("degradation", "out", "--depths", 9), CONFIG, "depth is 9")
        self.assert_refused(self.compare("table1", "out", "--depth", "8,14"), USAGE, "--depth", "allowed is one")
        self.assert_refused(run("lab", "table1", "--data", self.data), USAGE, "--out")
        self.assertFalse((self.folder / "out" / "runs").exists())


if __name__ == "__main__":
    unittest.main()
