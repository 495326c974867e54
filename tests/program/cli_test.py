"""The command line without training: help, exit codes, refusals, and the shapes of what programs read."""
import json
import subprocess
import unittest

from cli_program import PROGRAM, SOURCE, ProgramTest, idx_images, run, write_idx

VERBS = ("train", "eval", "predict", "summary", "plan", "data", "report", "bench", "lab", "launch", "version")
USAGE, CONFIG, DATA, CHECKPOINT, IO, DEVICE = 2, 3, 4, 5, 6, 7


class Help(ProgramTest):
    def test_program_lists_verbs_and_exit_codes(self):
        text = run("--help").stdout
        for word in (*VERBS, "Exit codes", "75"):
            self.assertIn(word, text)

    def test_every_verb_has_examples(self):
        for verb in VERBS:
            process = run(verb, "--help")
            self.assert_ok(process)
            self.assertIn("Example", process.stdout, verb)
            self.assertIn(f"residuum {verb}", process.stdout, verb)

    def test_recipe_keys_are_listed(self):
        process = run("train", "--help-keys")
        self.assert_ok(process)
        for key in ("train.batch", "optimizer.lr", "schedule.kind", "data.path", "checkpoint.keep"):
            self.assertIn(key, process.stdout)

    def test_readme_has_every_key_and_exit_code(self):
        readme = (SOURCE / "README.md").read_text()
        lines = run("train", "--help-keys").stdout.splitlines()
        self.assertGreater(len(lines), 40)
        for line in lines:
            key, rest = line.split(maxsplit=1)
            allowed, default = rest.split("): ")[0].split(" (default ")
            self.assertIn(f"| `{key}` | {allowed} | `{default}` |", readme)
        for line in run("--help").stdout.split("Exit codes:")[1].splitlines():
            if line.strip():
                self.assertIn(f"| {line.split()[0]} |", readme)


class Usage(ProgramTest):
    def test_no_verb(self):
        self.assert_refused(run(), USAGE, "train", "see residuum --help")

    def test_no_verb_below_a_verb(self):
        self.assert_refused(run("lab"), USAGE, "lesion", "see residuum lab --help")

    def test_unknown_verb(self):
        self.assert_refused(run("evil"), USAGE, "evil", "nearest is eval", "verbs of residuum are train")

    def test_unknown_verb_below_a_verb(self):
        self.assert_refused(run("lab", "pairin"), USAGE, "'pairin'", "nearest is pairing", "verbs of residuum lab are")

    def test_unknown_option_names_the_nearest_and_the_help(self):
        refused = run("plan", "resnet18", "--bacth=3")
        self.assert_refused(refused, USAGE, "'--bacth'", "nearest is --batch ", "residuum plan --help")

    def test_a_word_too_many_names_the_help(self):
        self.assert_refused(run("summary", "resnet18", "resnet34"), USAGE, "resnet34", "residuum summary --help")

    def test_a_verb_below_a_verb_is_named_in_full(self):
        self.assert_refused(run("lab", "shuffle", "--swaps", "x"), USAGE, "residuum lab shuffle --help")

    def test_unknown_device(self):
        self.assert_refused(run("plan", "resnet18", "--device", "abacus"), USAGE, "abacus")

    def test_epochs_and_steps_exclude_each_other(self):
        self.assert_refused(run("train", "--model", "cifar_resnet20", "--data", "x", "--epochs", 1, "--steps", 1),
                            USAGE, "--epochs", "--steps")

    def test_resume_needs_a_directory(self):
        self.assert_refused(run("train", "--resume"), USAGE, "--out")

    def test_train_needs_something(self):
        self.assert_refused(run("train"), USAGE, "--model")

    def test_eval_needs_a_model(self):
        self.assert_refused(run("eval"), USAGE, "--run")

    def test_unknown_pass(self):
        self.assert_refused(run("plan", "cifar_resnet20", "--disable-pass", "magic"), USAGE, "magic", "autodiff",
                            "kinds of fusions", "memory_reuse")


class Refusals(ProgramTest):
    def setUp(self):
        super().setUp()
        self.data = write_idx(self.folder / "data")

    def train(self, *arguments):
        return run("train", *arguments, "--out", self.folder / "out")

    def assert_nothing_started(self):
        self.assertFalse((self.folder / "out").exists())

    def test_unknown_key_names_the_nearest(self):
        process = self.train("--model", "cifar_resnet20", "--data", self.data, "--epochs", 1, "--set", "train.bach=3")
        self.assert_refused(process, CONFIG, "train.bach", "train.batch")
        self.assert_nothing_started()

    def test_value_out_of_range_names_the_range(self):
        recipe = self.folder / "recipe.toml"
        recipe.write_text('[model]\nname = "cifar_resnet20"\n[train]\nepochs = 1\nbatch = 0\n')
        self.assert_refused(self.train(recipe), CONFIG, "train.batch", "1 to")
        self.assert_nothing_started()

    def test_unknown_model_names_the_nearest(self):
        process = self.train("--model", "resnet51", "--data", self.data, "--epochs", 1)
        self.assert_refused(process, CONFIG, "resnet51", "resnet50")
        self.assert_nothing_started()

    def test_unknown_and_needed_passes(self):
        common = ("--model", "cifar_resnet8", "--data", self.data, "--epochs", 1, "--batch", 8)
        self.assert_refused(self.train(*common, "--disable-pass", "magic"), CONFIG, "magic", "rematerialize",
                            "kinds of fusions", "memory_reuse")
        self.assert_refused(self.train(*common, "--disable-pass", "autodiff"), CONFIG, "autodiff", "cannot do without")

    def test_plans_of_what_cannot_be(self):
        self.assert_refused(run("plan", "cifar_resnet8", "--disable-pass", "autodiff"), USAGE, "cannot do without")
        self.assert_refused(run("plan", "resnet50", "--gram-batch-norm", "--disable-pass", "weight_copies"), USAGE,
                            "'weight_copies'", "cannot do without")
        for flag in ("--recompute", "--gram-batch-norm"):
            self.assert_refused(run("plan", "cifar_resnet8", "--inference", flag), USAGE, "--inference")

    def test_absent_recipe(self):
        self.assert_refused(self.train("absent.toml"), IO, "absent.toml")

    def test_absent_data(self):
        process = self.train("--model", "cifar_resnet20", "--data", self.folder / "absent", "--epochs", 1)
        self.assertIn(process.returncode, (DATA, IO), process.stderr)
        self.assertIn("absent", process.stderr)
        self.assert_nothing_started()

    def test_no_data(self):
        self.assert_refused(self.train("--model", "cifar_resnet20", "--epochs", 1), CONFIG, "data.path")

    def test_batch_larger_than_the_data(self):
        process = self.train("--model", "cifar_resnet8", "--data", self.data, "--epochs", 1, "--batch", 100000)
        self.assert_refused(process, CONFIG, "batch", "100000", "64")

    def test_absent_weights(self):
        process = run("eval", "--model", "cifar_resnet8", "--weights", "absent.safetensors", "--data", self.data)
        self.assert_refused(process, CHECKPOINT, "absent.safetensors")

    def test_absent_run(self):
        for verb in (("eval", "--run"), ("predict", "x.png", "--run"), ("train", "--resume", "--out"),
                     ("lab", "pairing", "--run")):
            self.assert_refused(run(*verb, self.folder / "absent"), CHECKPOINT, "absent", "holds no run")

    def test_damaged_weights(self):
        weights = self.folder / "weights.safetensors"
        weights.write_bytes(b"not a safetensors file, but longer than a header")
        process = run("eval", "--model", "cifar_resnet8", "--weights", weights, "--data", self.data)
        self.assert_refused(process, CHECKPOINT, "weights.safetensors")

    def test_absent_device(self):
        backends = json.loads(run("version", "--json").stdout)["backends"]
        if backends["cuda"] is not None:
            self.skipTest("this machine has a CUDA device")
        process = self.train("--model", "cifar_resnet8", "--data", self.data, "--epochs", 1, "--batch", 8,
                             "--device", "cuda")
        self.assert_refused(process, DEVICE, "device 'cuda'")
        self.assert_nothing_started()

    def test_a_cuda_plan_needs_no_gpu(self):
        process = run("plan", "cifar_resnet8", "--device", "cuda")
        if "made without nvcc" in process.stderr:
            self.assert_refused(process, DEVICE, "not in this build")
        else:
            self.assertEqual(process.returncode, 0, process.stderr)
            self.assertIn("launches", process.stdout)


class Summary(ProgramTest):
    # conventions: torchvision's ResNets, He 2015 table 6 with option A and B.
    PARAMETERS = {
        ("resnet18",): 11689512, ("resnet34",): 21797672, ("resnet50",): 25557032, ("resnet50", "--v1"): 25557032,
        ("resnet101",): 44549160, ("resnet152",): 60192808, ("wide_resnet50_2",): 68883240,
        ("resnext50_32x4d",): 25028904, ("cifar_resnet20",): 269722, ("cifar_resnet110",): 1727962,
        ("cifar_resnet20", "--shortcut", "B"): 272474, ("cifar_resnet110", "--shortcut", "B"): 1730714,
    }

    def test_parameter_counts(self):
        for arguments, parameters in self.PARAMETERS.items():
            summary = self.json_of(run("summary", *arguments, "--json"))
            self.assertEqual(summary["parameters"], parameters, arguments)

    def test_json_adds_up(self):
        summary = self.json_of(run("summary", "resnet18", "--json"))
        self.assertEqual(summary["model"], "resnet18")
        for key in ("parameters", "macs", "activation_bytes"):
            self.assertEqual(sum(layer[key] for layer in summary["layers"]), summary[key], key)
        self.assertIn([1, 1000], [layer["output"] for layer in summary["layers"]])

    def test_options_change_the_shapes(self):
        summary = self.json_of(run("summary", "resnet18", "--json", "--batch", 3, "--image-size", 64, "--channels", 1,
                                   "--classes", 7))
        first = next(layer for layer in summary["layers"] if layer["name"] == "conv1")
        self.assertEqual(first["output"], [3, 32, 32, 64])
        self.assertEqual(first["parameters"], 64 * 49)
        self.assertIn([3, 7], [layer["output"] for layer in summary["layers"]])

    def test_text_names_layers_and_totals(self):
        text = run("summary", "cifar_resnet20").stdout
        for word in ("conv1", "layer3.2.bn2", "269722"):
            self.assertIn(word, text)

    def test_option_the_model_lacks(self):
        self.assert_refused(run("summary", "resnet18", "--zeros", "end"), CONFIG, "zeros")


class Plan(ProgramTest):
    def test_json_totals(self):
        plan = self.json_of(run("plan", "cifar_resnet8", "--batch", 4, "--json"))
        self.assertEqual(plan["launches"], sum(group["launches"] for group in plan["groups"]))
        self.assertEqual(plan["peak_bytes"], plan["arena_bytes"] + plan["persistent_bytes"])
        self.assertLess(plan["arena_bytes"], plan["unshared_bytes"])
        for key in ("bytes_read", "bytes_written", "flops"):
            self.assertEqual(sum(group[key] for group in plan["groups"]), plan[key], key)
        self.assertAlmostEqual(plan["gflop_per_image"] * 4e9, plan["flops"], delta=1)
        self.assertAlmostEqual(plan["mb_per_image"] * 4e6, plan["bytes_read"] + plan["bytes_written"], delta=1)
        phases = {node["phase"] for node in plan["nodes"]}
        self.assertLessEqual({"forward", "backward", "update"}, phases)
        self.assertEqual({node["group"] for node in plan["nodes"]}, set(range(len(plan["groups"]))))

    def test_grouping_and_reuse_can_be_switched_off(self):
        grouped = self.json_of(run("plan", "cifar_resnet8", "--batch", 4, "--json"))
        single = self.json_of(run("plan", "cifar_resnet8", "--batch", 4, "--json", "--disable-pass", "group",
                                  "--disable-pass", "memory_reuse"))
        self.assertEqual(single["launches"], len(single["nodes"]))
        self.assertLess(grouped["launches"], single["launches"])
        self.assertGreaterEqual(single["arena_bytes"], single["unshared_bytes"])

    def test_recompute_needs_less_memory(self):
        kept = self.json_of(run("plan", "cifar_resnet32", "--batch", 8, "--json"))
        recomputed = self.json_of(run("plan", "cifar_resnet32", "--batch", 8, "--json", "--recompute"))
        self.assertLess(recomputed["peak_bytes"], kept["peak_bytes"])
        self.assertGreater(recomputed["flops"], kept["flops"])

    def test_largest_batch_is_the_last_that_fits(self):
        arguments = ("plan", "cifar_resnet8", "--json")
        largest = self.json_of(run(*arguments, "--memory", "20MiB"))["largest_batch"]
        self.assertGreater(largest, 1)
        for batch, fits in ((largest, True), (largest + 1, False)):
            peak = self.json_of(run(*arguments, "--batch", batch))["peak_bytes"]
            self.assertEqual(peak <= 20 << 20, fits, batch)
        self.assertEqual(self.json_of(run(*arguments, "--memory", 1000))["largest_batch"], 0)
        text = run("plan", "cifar_resnet8", "--memory", 20 << 20).stdout
        self.assertIn(f"largest batch in 20.0 MiB: {largest}", text)

    SCALING = ("plan", "cifar_resnet8", "--device", "cpu", "--batch", 4, "--json", "--gpus", "8,16")
    ONE_BUCKET = ("--bucket", "1GB", "--network",
                  "gpus_per_node=8,intra_bw=100GB/s,intra_latency=2us,inter_bw=5GB/s,inter_latency=9us,adapters=4,"
                  "base_latency=1us,algorithm=ring,efficiency=0.5")

    def test_scaling_by_a_roofline(self):
        scaling = self.json_of(run(*self.SCALING, *self.ONE_BUCKET, "--chip", "bytes=1GB/s,flops=1PFLOP/s,launch=3us"))
        plan = self.json_of(run("plan", "cifar_resnet8", "--device", "cpu", "--batch", 4, "--json"))
        launches = 3e-6 * plan["launches"] + (plan["bytes_read"] + plan["bytes_written"]) / 1e9
        (bucket,) = scaling["bucket_bytes"]
        for step, ring in zip(scaling["steps"], (1e-6 + 14 * 2e-6 + 14 / 8 * bucket / 50e9,
                                                 1e-6 + 28 * 2e-6 + 2 * 9e-6 + 30 / 16 * bucket / 10e9)):
            self.assertAlmostEqual(step["compute_seconds"], launches, delta=1e-9)
            self.assertAlmostEqual(step["exposed_seconds"], ring, delta=1e-12)
            self.assertAlmostEqual(step["seconds"], launches + ring, delta=1e-9)
            self.assertAlmostEqual(step["images_per_second"], step["gpus"] * 4 / step["seconds"], delta=1e-6)
        for name in ("times of launches", "overlap", "link between nodes", "bandwidth reached", "buckets"):
            self.assertTrue(scaling["assumptions"][name], name)

    def test_scaling_by_measured_launches(self):
        plan = self.json_of(run("plan", "cifar_resnet8", "--device", "cpu", "--batch", 4, "--json"))
        groups = [[] for _ in plan["groups"]]
        for node in plan["nodes"]:
            groups[node["group"]].append(f"{node['name']}:{node['operation']}")
        times = self.folder / "step.json"
        rows = [{"ms": 2 + g, "nodes": " ".join(nodes)} for g, nodes in enumerate(groups)]
        times.write_text(json.dumps({"per_launch": rows[::-1]}))
        measured = (*self.SCALING, *self.ONE_BUCKET, "--per-launch-times", times)
        scaling = self.json_of(run(*measured))
        self.assertAlmostEqual(scaling["steps"][0]["compute_seconds"], sum(row["ms"] for row in rows) / 1e3, delta=1e-9)
        times.write_text(json.dumps({"per_launch": rows[1:]}))
        self.assert_refused(run(*measured), 4, "no time of the launch", rows[0]["nodes"])
        times.write_text("{}")
        self.assert_refused(run(*measured), 4, "per_launch")

    def test_scaling_over_a_measured_network(self):
        sums = self.folder / "sums.json"
        sums.write_text(json.dumps({"ranks": 2, "sizes": [{"bytes": size, "seconds": 1e-4 + size / 1e9}
                                                          for size in (1000, 100000, 10000000)]}))
        arguments = (*self.SCALING, "--chip", "bytes=1GB/s,flops=1PFLOP/s", "--bucket", "1GB", "--all-reduce-times")
        scaling = self.json_of(run(*arguments, sums))
        (bucket,) = scaling["bucket_bytes"]
        # Two ranks send all bytes once, at 1 GB/s, and need 1e-4 s for two hops; a ring of eight has 14 of them.
        self.assertAlmostEqual(scaling["steps"][0]["exposed_seconds"], 14 * 5e-5 + 14 / 8 * bucket / 1e9, delta=1e-9)
        self.assertIn("3 sizes over 2 ranks, off by at most 0.0 %", scaling["assumptions"]["these values"])
        sums.write_text(json.dumps({"ranks": 2}))
        self.assert_refused(run(*arguments, sums), 4, "no measurement of all-reduces")

    def test_scaling_refusals(self):
        chip = ("--chip", "bytes=1GB/s,flops=1TFLOP/s")
        self.assert_refused(run(*self.SCALING, *chip), 2, "--network")
        self.assert_refused(run(*self.SCALING, *self.ONE_BUCKET), 3, "--chip")
        self.assert_refused(run(*self.SCALING, *chip, "--network", "nvlink4"), 3, "no link between nodes")
        self.assert_refused(run(*self.SCALING, *self.ONE_BUCKET, "--chip", "h200"), 3, "fp32")
        self.assert_refused(run("plan", "cifar_resnet8", "--chip", "h200"), 2, "--gpus")
        self.assert_refused(run("plan", "cifar_resnet8", "--gpus", "0", *self.ONE_BUCKET, *chip), 3, "--gpus", "'0'")

    def test_memory_takes_units(self):
        for text, count in (("1GB", 10**9), ("2GiB", 2 << 30), ("4096", 4096)):
            plan = self.json_of(run("plan", "cifar_resnet8", "--json", "--memory", text))
            self.assertEqual(plan["memory_bytes"], count)
        for text in ("0", "much", "3 parsecs"):
            self.assert_refused(run("plan", "cifar_resnet8", "--memory", text), USAGE, "--memory")

    def cuda_plan(self, *arguments):
        process = run("plan", *arguments, "--device", "cuda", "--json")
        if "made without nvcc" in process.stderr:
            self.skipTest("this build has no CUDA backend")
        return self.json_of(process)

    def test_fused_steps_are_few_launches_and_bytes(self):
        plan = self.cuda_plan("resnet50", "--batch", 256)
        self.assertLessEqual(plan["mb_per_image"], 250)
        self.assertLessEqual(plan["launches"], 190)
        self.assertLessEqual(self.cuda_plan("cifar_resnet110", "--batch", 128)["launches"], 345)
        gram = self.cuda_plan("resnet50", "--batch", 256, "--gram-batch-norm")
        self.assertLessEqual(gram["mb_per_image"], 205)

    def test_each_kind_of_fusion_can_be_left_out(self):
        fused = self.cuda_plan("resnet18", "--batch", 8)
        for kind in ("conv_source", "conv_source_gradient", "conv_filter_gradient", "conv_statistics", "conv_residual",
                     "conv_gradient_sums", "linear_bias", "loss", "optimizer"):
            plain = self.cuda_plan("resnet18", "--batch", 8, "--disable-pass", kind)
            self.assertGreater(plain["launches"], fused["launches"], kind)
        gram = ("resnet50", "--batch", 8, "--gram-batch-norm")
        fused = self.cuda_plan(*gram)
        for kind in ("conv_source_concat", "conv_bias", "conv_apply", "conv_bias_gradient"):
            plain = self.cuda_plan(*gram, "--disable-pass", kind)
            self.assertGreater(plain["launches"], fused["launches"], kind)

    def test_a_net_of_1202_layers_fits_with_recompute(self):
        plan = self.cuda_plan("cifar_resnet1202", "--batch", 128, "--recompute")
        self.assertLessEqual(plan["peak_bytes"], 16 << 30)

    def test_gram_batch_norm_changes_wide_convolutions_only(self):
        plan = self.json_of(run("plan", "resnet50", "--batch", 1, "--json", "--gram-batch-norm"))
        self.assertEqual(sum(node["operation"] == "gram" for node in plan["nodes"]), 17)
        plain, asked = (self.json_of(run("plan", "cifar_resnet8", "--json", *flags))
                        for flags in ([], ["--gram-batch-norm"]))
        self.assertEqual(plain, asked)

    def test_inference_is_forward_only(self):
        plan = self.json_of(run("plan", "cifar_resnet8", "--inference", "--json"))
        self.assertEqual({node["phase"] for node in plan["nodes"]}, {"forward"})

    def test_text_names_launches_and_peak(self):
        text = run("plan", "cifar_resnet8", "--batch", 4).stdout
        for word in ("conv1 conv", "peak", "launches", "GFLOP"):
            self.assertIn(word, text)


class DataVerify(ProgramTest):
    def test_good_data_set(self):
        data = write_idx(self.folder)
        report = self.json_of(run("data", "verify", data, "--json"))
        self.assertEqual(report["bad"], 0)
        self.assertEqual([split["samples"] for split in report["splits"]], [64, 40])
        self.assertEqual(sum(c["samples"] for c in report["splits"][1]["classes"]), 40)

    def test_truncated_file(self):
        data = write_idx(self.folder)
        (data / "t10k-images-idx3-ubyte.gz").unlink()
        (data / "t10k-images-idx3-ubyte").write_bytes(idx_images([bytes(64)] * 40, 8)[:-10])
        self.assert_refused(run("data", "verify", data), DATA, "t10k-images-idx3-ubyte")

    def test_bad_image_is_listed(self):
        for name in ("cat", "dog"):
            (self.folder / name).mkdir()
            (self.folder / name / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
        process = run("data", "verify", self.folder, "--json")
        self.assertEqual(process.returncode, DATA, process.stderr)
        report = json.loads(process.stdout)
        self.assertEqual(report["bad"], 2)
        self.assertIn("bad.png", report["splits"][0]["bad"][0]["name"])


class Output(ProgramTest):
    def test_version(self):
        version = self.json_of(run("version", "--json"))
        for key in ("version", "commit", "compiler", "libraries", "backends"):
            self.assertTrue(version[key], key)
        self.assertIn("cpu", version["backends"])
        self.assertIn(version["version"], run("version").stdout)
        flag = run("--version")
        self.assertEqual((flag.returncode, flag.stdout), (0, f"residuum {version['version']}\n"))

    def test_closed_reader_is_no_error(self):
        with subprocess.Popen([PROGRAM, "summary", "resnet152"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            p.stdout.close()
            self.assertEqual(p.stderr.read(), b"")
            self.assertEqual(p.wait(60), 0)

    def test_full_disk_is_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            process = subprocess.run([PROGRAM, "summary", "resnet18"], stdout=full, stderr=subprocess.PIPE, text=True,
                                     check=False)
        self.assertEqual(process.returncode, IO)
        self.assertIn("standard output", process.stderr)

    def test_recipes_of_the_tree_are_valid(self):
        # A recipe that is read and checked fails only when its data is opened.
        for recipe in sorted((SOURCE / "models" / "recipes").glob("*.toml")):
            process = run("train", recipe, "--data", self.folder / "absent", "--out", self.folder / "out")
            self.assertIn(process.returncode, (DATA, IO), f"{recipe.name}: {process.stderr}")


if __name__ == "__main__":
    unittest.main()
