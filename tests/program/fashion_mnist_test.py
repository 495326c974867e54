"""A part of an epoch on real images: Fashion-MNIST of the Debian package, far above chance. Slow: minutes."""
import json
import pathlib
import unittest

from cli_program import SOURCE, ProgramTest, run

DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")


@unittest.skipUnless(DATA.is_dir(), "package dataset-fashion-mnist is not installed")
class FashionMnist(ProgramTest):
    def test_learns(self):
        out = self.folder / "run"
        process = run("train", SOURCE / "models" / "recipes" / "fashion_mnist.toml", "--data", DATA, "--steps", 150,
                      "--set", "schedule.unit=steps", "--set", "schedule.warmup=20", "--out", out, "--json",
                      timeout=1200)
        result = self.json_of(process)
        # Ten classes: chance is 10 %.
        self.assertGreater(result["test"]["top1_accuracy"], 0.7)
        evaluated = self.json_of(run("eval", "--run", out, "--json", timeout=600))
        self.assertEqual(evaluated["top1"], result["test"]["top1"])
        self.assertEqual(evaluated["samples"], 10000)
        self.assertEqual(json.loads(process.stdout)["steps"], 150)


if __name__ == "__main__":
    unittest.main()
