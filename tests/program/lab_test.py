"""The laboratory from the command line: what it counts, what it writes, what it refuses."""
import json
import os
import re

from cli_program import SMALL_RECIPE, ProgramTest, run, write_idx

USAGE, CONFIG, IO = 2, 3, 6
VERBS = ("lesion", "shuffle", "paths", "gradients", "response", "iteration", "lambda", "singularities", "pairing")


class Counts(ProgramTest):
    def test_paths_need_neither_weights_nor_data(self):
        count = self.json_of(run("lab", "paths", "--model", "cifar_resnet110", "--count-only", "--json"))["count"]
        self.assertEqual((count["modules"], count["paths"], count["mean_modules"]), (54, str(2 ** 54), 27))
        self.assertEqual(count["span"], [19, 35])
        paths = [1]
        for _ in range(54):
            paths = [a + b for a, b in zip([0, *paths], [*paths, 0])]
        self.assertEqual([int(text) for text in count["paths_by_modules"]], paths)

    def test_counts_of_1202_layers_are_exact(self):
        count = self.json_of(run("lab", "paths", "--model", "cifar_resnet1202", "--count-only", "--json"))["count"]
        self.assertEqual(int(count["paths"]), 2 ** 600)
        self.assertEqual(sum(map(int, count["ways_by_layers"])), 2 ** 600)

    def test_help_of_every_verb(self):
        for verb in VERBS:
            process = run("lab", verb, "--help")
            self.assert_ok(process)
            self.assertIn(f"residuum lab {verb}", process.stdout)


class Analyses(ProgramTest):
    """On a run of two epochs over made-up images."""

    def setUp(self):
        super().setUp()
        self.data = write_idx(self.folder / "data")
        recipe = self.folder / "small.toml"
        recipe.write_text(SMALL_RECIPE)
        self.trained = self.folder / "run"
        self.assert_ok(run("train", recipe, "--model", "cifar_resnet14", "--data", self.data, "--out", self.trained))

    def lab(self, verb, *arguments):
        return run("lab", verb, "--run", self.trained, "--out", self.folder / "lab", *arguments)

    def test_every_verb_writes_its_results(self):
        for verb in VERBS:
            batch = () if verb in ("lesion", "shuffle", "singularities", "pairing") else ("--batch", 8)
            shown = self.json_of(self.lab(verb, "--json", *batch))
            self.assertEqual((shown["analysis"], shown["model"]), (verb, "cifar_resnet14"))
            self.assertEqual(json.loads((self.folder / "lab" / f"{verb}.json").read_text()), shown)
            tables = list((self.folder / "lab" / f"{verb}-csv").iterdir())
            self.assertTrue(tables, verb)
            for table in tables:
                self.assertGreater(len(table.read_text().splitlines()), 1, table)
            page = self.folder / "lab" / f"{verb}.html"
            if page.exists():  # absent where the build has no chart library
                self.assertNotRegex(page.read_text(), re.compile(r'(src|href)="https?:'))

    def test_a_lesion_counts_like_eval(self):
        whole = self.json_of(run("eval", "--run", self.trained, "--json"))
        report = self.json_of(self.lab("lesion", "--json", "--delete", "0,6"))
        for key in ("samples", "top1", "loss"):
            self.assertEqual(report["whole"][key], whole[key])
        self.assertEqual([part["name"] for part in report["singles"]],
                         [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)])
        self.assertEqual([several["count"] for several in report["several"]], [0, 6])
        self.assertEqual(report["several"][0]["draws"][0], report["whole"])

    def test_shares_of_paths_add_up(self):
        report = self.json_of(self.lab("paths", "--json", "--batch", 8, "--samples", 2))
        self.assertAlmostEqual(sum(length["share"] for length in report["lengths"]), 1, places=9)
        self.assertEqual([length["modules"] for length in report["lengths"]], list(range(7)))

    def test_training_is_watched(self):
        report = self.json_of(self.lab("gradients", "--json", "--batch", 8, "--steps", 4, "--every", 2))
        self.assertEqual([look["step"] for look in report["looks"]], [0, 2, 4])
        self.assertEqual(len(report["looks"][0]["layers"]), 14)
        self.assertEqual(report["split"], "train")
        self.assertEqual(self.json_of(self.lab("gradients", "--json", "--batch", 8))["split"], "test")

    def test_weights_are_looked_at_without_data(self):
        weights = self.trained / "checkpoints" / "last.safetensors"
        with_run = self.json_of(self.lab("pairing", "--json"))
        self.data.rename(self.folder / "elsewhere")
        self.assertEqual(self.json_of(self.lab("pairing", "--json")), with_run)
        self.assertNotIn("data", with_run)
        alone = run("lab", "singularities", "--model", "cifar_resnet14", "--weights", weights, "--json")
        self.assertEqual(self.json_of(alone)["layers"], self.json_of(self.lab("singularities", "--json"))["layers"])
        fresh = self.json_of(run("lab", "pairing", "--model", "cifar_plain8", "--json"))
        self.assertEqual(len(fresh["layers"]), 7)

    def test_tied_units(self):
        plain = self.json_of(run("lab", "singularities", "--model", "cifar_plain14", "--data", self.data, "--json",
                                 "--set", "train.batch=16", "--tie-steps", 2))["tied"]
        self.assertEqual([moment["equal"] for moment in plain["moments"]], [True, True, True])
        residual = self.json_of(self.lab("singularities", "--json", "--tie-steps", 1))["tied"]
        self.assertEqual([moment["equal"] for moment in residual["moments"]], [True, False])

    def test_png_wants_a_browser(self):
        def refused(environment, *words):
            process = run("lab", "pairing", "--run", self.trained, "--out", self.folder / "png", "--png",
                          env={**os.environ, **environment})
            self.assertEqual(process.returncode, CONFIG, process.stderr)
            if "no chart library" not in process.stderr:
                for word in words:
                    self.assertIn(word, process.stderr)
            self.assertFalse((self.folder / "png").exists(), "refused before the work")
        refused({"RESIDUUM_CHROMIUM": "/nowhere/chromium"}, "RESIDUUM_CHROMIUM is '/nowhere/chromium'")
        refused({"RESIDUUM_CHROMIUM": "", "PATH": str(self.folder)}, "not found on PATH", "RESIDUUM_CHROMIUM")
        self.assert_refused(run("lab", "pairing", "--run", self.trained, "--png"), USAGE, "--out")

    def test_where_nothing_can_be_written_is_found_before_the_work(self):
        process = run("lab", "lesion", "--run", self.trained, "--out", self.trained / "recipe.toml" / "below")
        self.assert_refused(process, IO, "recipe.toml/below")
        self.assertNotIn("whole net", process.stderr)

    def test_refusals_name_model_and_reason(self):
        plain = ("--model", "cifar_plain14", "--data", self.data)
        self.assert_refused(run("lab", "paths", *plain), CONFIG, "cifar_plain14", "no shortcut", "layer1.0")
        self.assert_refused(run("lab", "lambda", *plain), CONFIG, "cifar_plain14", "no shortcut")
        self.assert_refused(self.lab("lesion", "--kind", "gates"), CONFIG, "cifar_resnet14", "gates")
        self.assert_refused(self.lab("lesion", "--delete", 7), CONFIG, "cifar_resnet14 has 6")
        self.assert_refused(run("lab", "iteration", "--model", "cifar_resnet8", "--data", self.data), CONFIG,
                            "cifar_resnet8", "no two successive blocks")
        self.assert_refused(run("lab", "shuffle", "--model", "cifar_resnet14", "--data", self.data), USAGE, "--weights")
        self.assert_refused(run("lab", "gradients", "--data", self.data), USAGE, "--model")
        self.assert_refused(run("lab"), USAGE, "lab --help")


class EveryFamily(ProgramTest):
    """Each verb on a net of each family: a result without holes, or one line that says what the net lacks."""

    # What a family lacks: verb -> words of the refusal. Everything else works.
    NO_SHORTCUTS = {"paths": "no shortcut that is added", "lambda": "no shortcut that is added"}
    NO_EQUALS = {"shuffle": "no two blocks of equal shape"}
    NO_CONVOLUTIONS = {"response": "no convolution with a kernel", "pairing": "no convolution with two filters"}
    FAMILIES = (
        ("cifar_resnet14", (), {}),
        ("cifar_resnet29", (), {}),  # bottlenecks
        ("cifar_preresnet20", (), {}),
        ("cifar_plain14", (), NO_SHORTCUTS),
        ("cifar_highway11", (), {}),
        ("mnist_highway5_8", (), NO_CONVOLUTIONS),
        ("mnist_plain5_8", (), {**NO_SHORTCUTS, **NO_CONVOLUTIONS}),
        ("cifar_densenet13_4", (), {**NO_SHORTCUTS, **NO_EQUALS, "iteration": "no two successive blocks"}),
        ("cifar_wrn16_1", (), NO_EQUALS),
        ("cifar_resnet14", ("model.activation=crelu",), {}),
        ("cifar_resnet14", ("model.gate=exclusive",), {}),
        ("cifar_resnet14", ("model.survival=0.5",), {}),
        ("cifar_resnet14", ("model.sampled_blocks=3",), {}),
        ("cifar_resnet14", ("model.placement=relu_before_addition", "model.shortcut=C"), {}),
    )
    OPTIONS = {"lesion": (), "shuffle": ("--swaps", 1, "--draws", 1), "paths": ("--batch", 4, "--samples", 1),
               "gradients": ("--batch", 4), "response": ("--batch", 4), "iteration": ("--batch", 4),
               "lambda": ("--batch", 4), "singularities": ("--tie-steps", 1), "pairing": ()}
    MAY_LACK = {"lambda": ("product", "lambda")}  # of shortcuts that are no constant

    def holes(self, value, place=""):
        """Where a result has no number."""
        if isinstance(value, dict):
            return [hole for key, item in value.items() for hole in self.holes(item, key)]
        if isinstance(value, list):
            return [hole for item in value for hole in self.holes(item, place)]
        return [place] if value is None else []

    def test_sound_results_or_clear_refusals(self):
        data = write_idx(self.folder / "data", train=16, test=16)
        recipe = self.folder / "small.toml"
        recipe.write_text(SMALL_RECIPE.replace("epochs = 2", "steps = 1"))
        for number, (model, keys, lacks) in enumerate(self.FAMILIES):
            trained = self.folder / str(number)
            settings = [word for key in keys for word in ("--set", key)]
            self.assert_ok(run("train", recipe, "--model", model, "--data", data, "--out", trained, "--set",
                               "train.eval_every=0", *settings))
            for verb, options in self.OPTIONS.items():
                with self.subTest(model=model, keys=keys, verb=verb):
                    process = run("lab", verb, "--run", trained, "--json", *options)
                    if verb in lacks:
                        self.assert_refused(process, CONFIG, model, lacks[verb])
                        continue
                    holes = set(self.holes(self.json_of(process))) - set(self.MAY_LACK.get(verb, ()))
                    self.assertEqual(holes, set())
