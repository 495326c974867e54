"""residuum bench, bench/compare and tools/gpu-report as users run them, on small problems; no test looks at a speed."""
import csv
import json
import os
import pathlib
import subprocess
import sys
import unittest

from cli_program import PROGRAM, SOURCE, ProgramTest, run, write_idx

USAGE, CONFIG, DATA, IO, BENCHMARK = 2, 3, 4, 6, 10
SHAPES = SOURCE / "bench" / "shapes" / "tests.txt"
QUICK = ("--device", "cpu", "--samples", 2, "--warm-up", 0)


class Kernels(ProgramTest):
    def test_json_has_a_row_for_each_operation(self):
        report = self.json_of(run("bench", "kernels", "--shapes", SHAPES, *QUICK, "--json", "-"))
        self.assertEqual(report["kind"], "kernels")
        for key in ("copy_gbytes_per_second", "product_tflops", "launch_us", "run_us"):
            self.assertGreater(report["ceilings"][key], 0, key)
        for key in ("commit", "date", "device", "command_line"):
            self.assertTrue(report["environment"][key], key)
        self.assertEqual(len(report["rows"]), 16)
        for row in report["rows"]:
            self.assertEqual(row["status"], "measured", row)
            self.assertLessEqual(row["replay_us"]["p20"], row["replay_us"]["median"])
            self.assertLessEqual(row["replay_us"]["median"], row["replay_us"]["p80"])
            self.assertIn(row["bound"], ("memory", "compute"))
        conv = next(row for row in report["rows"] if row["layer"] == "grouped")
        self.assertEqual((conv["operation"], conv["implementation"], conv["times"]), ("conv", "onednn", 2))
        self.assertEqual(conv["flops"], 2 * (2 * 8 * 8 * 24) * (3 * 3 * 8))

    def test_what_was_asked_for_and_is_missing_has_a_row(self):
        process = run("bench", "kernels", "--shapes", SHAPES, *QUICK, "--op", "conv,linear", "--layer", "fc", "--impl",
                      "onednn,cudnn", "--json", self.folder / "k.json")
        self.assert_ok(process)
        self.assertIn("unavailable: this device has no cudnn", process.stdout)
        rows = json.loads((self.folder / "k.json").read_text())["rows"]
        self.assertEqual([(row["operation"], row["implementation"], row["status"]) for row in rows],
                         [("linear", "onednn", "measured"), ("linear", "cudnn", "unavailable")])

    def test_csv_has_the_rows_of_the_json(self):
        files = {kind: self.folder / f"k.{kind}" for kind in ("json", "csv")}
        self.assert_ok(run("bench", "kernels", "--shapes", SHAPES, *QUICK, "--op", "conv", "--impl", "onednn,cudnn", "--json",
                           files["json"], "--csv", files["csv"]))
        with open(files["csv"], newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        rows = json.loads(files["json"].read_text())["rows"]
        self.assertEqual(len(table), len(rows))
        self.assertEqual(len(rows), 4)
        for line, row in zip(table, rows):
            self.assertEqual((line["layer"], line["implementation"], line["status"]),
                             (row["layer"], row["implementation"], row["status"]))
            if row["status"] == "measured":
                self.assertEqual(float(line["replay_us_median"]), row["replay_us"]["median"])
                self.assertEqual(int(line["flops"]), row["flops"])
                self.assertEqual(line["peer"], "", "null")
            else:
                self.assertEqual(line["replay_us_median"], "")

    def test_layers_of_a_model_are_listed(self):
        process = run("bench", "kernels", "--model", "cifar_resnet8", "--batch", 3, "--list")
        self.assert_ok(process)
        self.assertIn("conv conv1 n=3 h=32 w=32 c=3 k=16 r=3 pad=1 first=1", process.stdout)

    def test_page(self):
        process = run("bench", "kernels", "--shapes", SHAPES, *QUICK, "--op", "conv", "--html", self.folder / "k.html")
        if "chart library" in process.stderr:
            self.assertEqual(process.returncode, CONFIG)
            self.skipTest("this build has no chart library")
        self.assert_ok(process)
        page = (self.folder / "k.html").read_text()
        for word in ("Roofline", "grouped", "conv", "onednn"):
            self.assertIn(word, page)

    def test_refusals(self):
        self.assert_refused(run("bench", "kernels"), USAGE, "--shapes")
        self.assert_refused(run("bench", "kernels", "--shapes", SHAPES, "--layer", "nowhere"), USAGE, "nowhere")
        self.assert_refused(run("bench", "kernels", "--shapes", SHAPES, "--op", "fly"), USAGE, "fly")
        bad = self.folder / "bad.txt"
        bad.write_text("conv c n=1\n")
        self.assert_refused(run("bench", "kernels", "--shapes", bad), CONFIG, "bad.txt:1", "needs h")

    def test_where_nothing_can_be_written_is_found_before_the_work(self):
        absent = self.folder / "absent"
        for verb in (("kernels", "--shapes", SHAPES), ("step",), ("data",), ("allreduce",)):
            process = run("bench", *verb, "--json", absent / "r.json")
            self.assert_refused(process, IO, "absent/r.json")
            self.assertEqual(process.stdout, "")
        process = run("bench", "kernels", "--shapes", SHAPES, *QUICK, "--html", absent / "k.html")
        self.assertIn(process.returncode, (IO, CONFIG), "CONFIG: without a chart library")
        self.assertEqual(process.stdout, "")


class StepAndData(ProgramTest):
    STEP = ("bench", "step", "--device", "cpu", "--model", "cifar_resnet8", "--batch", 4, "--warmup", 1, "--steps", 2)

    def test_json(self):
        report = self.json_of(run(*self.STEP, "--per-launch", "--json", "-"))
        self.assertEqual(len(report["seconds"]), 2)
        self.assertAlmostEqual(report["images_per_second"] * report["median_seconds"], 4)
        plan = self.json_of(run("plan", "cifar_resnet8", "--batch", 4, "--json", "--device", "cpu"))
        for key in ("launches", "mb_per_image", "gflop_per_image", "peak_bytes"):
            self.assertEqual(report[key], plan[key], key)
        self.assertEqual(set(report["phases"]), {"forward", "backward", "update"})
        self.assertEqual(len(report["per_launch"]), len(plan["groups"]))

    def test_images_of_a_data_set(self):
        process = run(*self.STEP, "--data", write_idx(self.folder / "data"), "--json", self.folder / "step.json")
        self.assert_ok(process)
        self.assertIn("images/s", process.stdout)
        self.assertEqual(json.loads((self.folder / "step.json").read_text())["data"], str(self.folder / "data"))

    def test_rounds_on_request(self):
        process = run(*self.STEP, "--on-request", input="\n\n")
        self.assert_ok(process)
        lines = process.stdout.splitlines()
        self.assertEqual(lines[0], "ready")
        self.assertEqual([json.loads(line)["batch"] for line in lines[1:]], [4, 4])

    def test_loading(self):
        data = write_idx(self.folder / "data")
        report = self.json_of(run("bench", "data", "--data", data, "--threads", "0,1", "--batch", 8, "--batches", 4,
                                  "--json", "-"))
        self.assertEqual([(row["threads"], row["transform"]) for row in report["rows"]],
                         [(0, "pad_crop_flip"), (1, "pad_crop_flip")])


class Results(ProgramTest):
    def write(self, name, speed, spread=0.01):
        statistics = {"median": speed, "p20": speed * (1 - spread), "p80": speed * (1 + spread), "samples": 20}
        row = {"format": "jpeg", "transform": "crop", "threads": 1, "images_per_second": statistics}
        report = {"kind": "data", "environment": {"device": "none", "commit": "0" * 40, "date": "2026-01-02"}, "rows": [row]}
        (self.folder / name).write_text(json.dumps(report))
        return self.folder / name

    def test_compare_tells_by_its_exit_code(self):
        old, slow, fast = self.write("old.json", 100), self.write("slow.json", 80), self.write("fast.json", 120)
        self.assert_ok(run("bench", "compare", old, fast))
        self.assert_ok(run("bench", "compare", old, old))
        process = run("bench", "compare", old, slow)
        self.assertEqual(process.returncode, BENCHMARK, process.stderr)
        self.assertIn("REGRESSION", process.stdout)
        self.assert_refused(run("bench", "compare", old, self.folder / "absent.json"), IO, "absent.json")
        (self.folder / "poem.json").write_text("roses are red")
        self.assert_refused(run("bench", "compare", old, self.folder / "poem.json"), DATA, "poem.json")
        (self.folder / "peers.json").write_text(json.dumps({"kind": "peers", "rows": []}))
        self.assert_refused(run("bench", "compare", old, self.folder / "peers.json"), DATA, "kind data", "kind peers")

    def test_report_rebuilds_and_checks(self):
        self.write("data.json", 100)
        readme = self.folder / "README.md"
        readme.write_text("a\n<!-- bench report: data.json -->\n<!-- end -->\nb\n")
        arguments = ("bench", "report", self.folder, "--readme", readme)
        self.assertEqual(run(*arguments, "--check").returncode, BENCHMARK)
        self.assert_ok(run(*arguments))
        self.assertIn("| jpeg | crop | 1 | 100 (99 to 101) |", readme.read_text())
        self.assert_ok(run(*arguments, "--check"))
        self.assert_refused(run("bench", "report", self.folder / "absent"), IO, "absent is no folder")
        process = run("bench", "report", self.folder, "--html", self.folder / "page.html")
        if "chart library" not in process.stderr:
            self.assert_ok(process)
            self.assertIn("100 (99 to 101)", (self.folder / "page.html").read_text())


class Peers(ProgramTest):
    """bench/compare with a stand-in for PyTorch: the protocol, the turns and the ratios."""

    PEER = """#!/usr/bin/env python3
import json, sys
if "--modes" in sys.argv:
    print(json.dumps({"implementation": "pytorch 0", "modes": ["eager", "compile"],
                      "missing": [{"name": "compile-max-autotune", "reason": "not in this one"}]}))
    sys.exit()
if "compile" in sys.argv:
    sys.exit("the compiler has failed")
print("noise\\nready", flush=True)
for _ in sys.stdin:
    print(json.dumps({"implementation": "pytorch 0", "images_per_second": 50.0}), flush=True)
"""
    OURS = """#!/usr/bin/env python3
import json, sys
if "--recompute" in sys.argv:
    sys.exit("error: not this one")
first = 400.0 if "--autotune" in sys.argv else 100.0
print("ready", flush=True)
for i, _ in enumerate(sys.stdin):
    print(json.dumps({"implementation": "residuum", "images_per_second": first + 20 * i, "options": sys.argv[-3:]}), flush=True)
"""

    def compare(self, *arguments):
        for name, text in (("peer", self.PEER), ("ours", self.OURS)):
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)
        return subprocess.run([sys.executable, SOURCE / "bench" / "compare", "--device", "cpu", "--program",
                               self.folder / "ours", *arguments], capture_output=True, text=True, check=False)

    def test_turns_ratios_and_missing_peers(self):
        process = self.compare("--python", self.folder / "peer", "--rounds", "2", "--out", self.folder / "out.json",
                               "resnet50:16:bf16")
        self.assertEqual(process.returncode, 0, process.stderr)
        report = json.loads((self.folder / "out.json").read_text())
        (row,) = report["rows"]
        (peer,) = row["peers"]
        self.assertEqual((peer["name"], len(peer["runs"]), len(row["ours"]["runs"])), ("eager", 2, 3))
        # ours 100, 120, 140 and theirs 50 between them: (100 + 120) / 2 / 50 and (120 + 140) / 2 / 50
        self.assertEqual((peer["ratio"]["lowest"], peer["ratio"]["highest"]), (2.2, 2.6))
        self.assertAlmostEqual(peer["ratio"]["median"], 2.4)
        self.assertEqual({(m["name"], m["reason"]) for m in report["missing"]},
                         {("compile-max-autotune", "not in this one"), ("compile", "the compiler has failed")})
        self.assertIn("missing: compile-max-autotune: not in this one", process.stderr)
        self.assert_ok(run("bench", "compare", self.folder / "out.json", self.folder / "out.json"))

    def test_variants_of_ours_have_rows_of_their_own(self):
        process = self.compare("--python", self.folder / "peer", "--modes", "eager", "--rounds", "1", "--out",
                               self.folder / "out.json", "--ours", "plain,gram+autotune,recompute", "--autotune-cache", "tuned",
                               "resnet50:16:bf16", "resnet18:16:bf16")
        self.assertEqual(process.returncode, 0, process.stderr)
        report = json.loads((self.folder / "out.json").read_text())
        self.assertEqual([(row["model"], row["variant"]) for row in report["rows"]],
                         [(model, variant) for model in ("resnet50", "resnet18") for variant in ("plain", "gram+autotune")])
        plain, tuned = report["rows"][:2]
        self.assertEqual(tuned["ours"]["runs"][0]["options"], ["--autotune", "--autotune-cache", "tuned"])
        self.assertNotIn("tuned", plain["ours"]["runs"][0]["options"])
        self.assertEqual([row["peers"][0]["ratio"]["median"] for row in (plain, tuned)], [2.2, 8.2])
        self.assertEqual(plain["peers"][0]["runs"], tuned["peers"][0]["runs"], "they took turns with one peer")
        self.assertIn(("Residuum recompute", "resnet50:16:bf16", "error: not this one"),
                      [(m["name"], m.get("case"), m["reason"]) for m in report["missing"]])
        self.assertIn("Residuum gram+autotune", process.stdout)
        refused = self.compare("--ours", "plain,fast", "resnet50:16:bf16")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("no variant 'fast'", refused.stderr)
        failing = self.compare("--python", self.folder / "peer", "--ours", "recompute", "resnet50:16:bf16")
        self.assertIn("not this one", failing.stderr)
        self.assertNotEqual(failing.returncode, 0)

    def test_no_peer_at_all_is_named(self):
        process = self.compare("--python", "/bin/false", "--rounds", "1", "resnet50:16:bf16")
        self.assertEqual(process.returncode, 3, process.stderr)
        self.assertIn("missing: PyTorch", process.stderr)
        self.assertIn("100.0", process.stdout)

    def test_with_the_real_ones(self):
        python = "/usr/bin/python3"
        if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode != 0:
            self.skipTest("python3-torch is not installed")
        process = subprocess.run([sys.executable, SOURCE / "bench" / "compare", "--device", "cpu", "--program", PROGRAM,
                                  "--python", python, "--modes", "eager", "--rounds", "1", "--steps", "1", "--out",
                                  self.folder / "out.json", "cifar_resnet8:4:fp32"], capture_output=True, text=True, check=False)
        self.assertEqual(process.returncode, 0, process.stderr)
        (row,) = json.loads((self.folder / "out.json").read_text())["rows"]
        self.assertEqual(row["peers"][0]["runs"][0]["parameters"], 75290, "He 2015's net of 8 layers")
        self.assertGreater(row["peers"][0]["memory_bytes"], row["ours"]["memory_bytes"] // 100)


class GpuReport(ProgramTest):
    SCRIPT = SOURCE / "tools" / "gpu-report"

    def report(self, *arguments, **environment):
        return subprocess.run([self.SCRIPT, *arguments], capture_output=True, text=True, check=False,
                              env={**os.environ, **environment})

    def stages(self):
        report = json.loads((self.folder / "out" / "report.json").read_text())
        return {stage["stage"]: stage for stage in report["stages"]}

    def dry_run(self, *arguments, **environment):
        build = pathlib.Path(PROGRAM).parent.parent
        return self.report(self.folder / "out", "--dry-run", "--no-build", "--build", build, "--python", "/usr/bin/python3",
                           *arguments, **environment)

    def test_dry_run_leaves_results_and_resumes(self):
        out = self.folder / "out"
        process = self.dry_run("--stages", "build,ptx,step,kernels,tests")
        self.assertEqual(process.returncode, 0, process.stdout + process.stderr)
        stages = self.stages()
        self.assertEqual({name: s["result"] for name, s in stages.items()},
                         {"build": "done", "ptx": "skipped", "step": "done", "kernels": "done", "tests": "skipped"})
        self.assertIn("no GPU", stages["ptx"]["reason"])
        for variant in ("", "_autotune"):
            self.assertEqual(json.loads((out / f"step_cifar_resnet8_b8{variant}.json").read_text())["kind"], "step")
        self.assertEqual(json.loads((out / "kernels_tests.json").read_text())["kind"], "kernels")
        before = (out / "kernels_tests.json").stat().st_mtime_ns
        again = self.dry_run("--stages", "kernels,ranks,data")
        self.assertIn("kernels: done before", again.stdout)
        self.assertEqual((out / "kernels_tests.json").stat().st_mtime_ns, before)
        self.assertTrue((out / "data.json").exists())
        for ranks in (1, 2):
            sums = json.loads((out / f"allreduce_{ranks}.json").read_text())
            self.assertEqual((sums["ranks"], {row["wrong"] for row in sums["sizes"]}), (ranks, {0}))

    def test_a_failed_stage_does_not_stop_the_others(self):
        process = self.report(self.folder / "out", "--dry-run", "--no-build", "--build", self.folder, "--stages",
                              "build,environment")
        self.assertEqual(process.returncode, 1)
        self.assertEqual({name: stage["result"] for name, stage in self.stages().items()},
                         {"environment": "done", "build": "failed"})

    def test_stages_share_the_time(self):
        for name in ("kernels", "peers", "tests", "peers_others"):  # not to be measured here
            (self.folder / "out").mkdir(exist_ok=True)
            (self.folder / "out" / (name + ".done")).touch()
        process = self.dry_run("--seconds", "3000", "--stages", "build,kernels,step,peers,peers_others,data")
        self.assertEqual(process.returncode, 0, process.stdout + process.stderr)
        limits = {name: stage["limit_s"] for name, stage in self.stages().items()}
        self.assertAlmostEqual(limits["build"], 3000, delta=20)
        # Four fifths of what is left: four times the weight of the only one that follows and is not done.
        self.assertAlmostEqual(limits["step"], 2400, delta=40)
        self.assertGreater(limits["data"], 2800, "the last one may have all that the others left")

    def test_libraries_beside_pytorch_are_found(self):
        site = self.folder / "site"
        for name in ("cudnn/lib/libcudnn.so.9", "cu13/lib/libcublas.so.13", "nccl/lib/libnccl.so.2"):
            (site / "nvidia" / name).parent.mkdir(parents=True)
            (site / "nvidia" / name).touch()
        environment = {"PYTHONPATH": str(site), "RESIDUUM_NCCL_LIBRARY": "/own/libnccl.so"}
        self.assertEqual(self.dry_run("--stages", "environment", **environment).returncode, 0)
        log = (self.folder / "out" / "environment.log").read_text()
        self.assertIn(f"RESIDUUM_CUDNN_LIBRARY: {site}/nvidia/cudnn/lib/libcudnn.so.9", log)
        self.assertIn(f"RESIDUUM_CUBLAS_LIBRARY: {site}/nvidia/cu13/lib/libcublas.so.13", log)
        self.assertIn("RESIDUUM_NCCL_LIBRARY: /own/libnccl.so", log, "the one that was named")

    def test_time_ends(self):
        process = self.dry_run("--seconds", "0", "--stages", "build")
        self.assertIn("no time left", process.stdout)
        self.assertFalse((self.folder / "out" / "build.done").exists())

    def test_refusals(self):
        for arguments in ((), ("out", "--stages", "fly"), ("out", "--seconds", "soon"), ("out", "--wings")):
            self.assertEqual(self.report(*arguments).returncode, 2, arguments)

    def test_what_is_packed_configures_a_build(self):
        pack = self.folder / "pack"
        process = self.report("--pack", pack)
        if "tools/setup names the packages" in process.stderr:
            self.skipTest("the packages are not installed: " + process.stderr)
        self.assertEqual(process.returncode, 0, process.stderr)
        for name in ("include/CLI/CLI.hpp", "include/fmt/core.h", "lib/libjpeg.a", "lib/libgtest.a"):
            self.assertTrue((pack / name).is_file(), name)
        configured = subprocess.run(
            ["cmake", "-G", "Ninja", "-S", SOURCE, "-B", self.folder / "build", "-DRESIDUUM_CPU=OFF", "-DRESIDUUM_CUDA=OFF",
             f"-DRESIDUUM_THIRD_PARTY={pack}", "-DRESIDUUM_TESTS=OFF"], capture_output=True, text=True, check=False)
        self.assertEqual(configured.returncode, 0, configured.stderr)


if __name__ == "__main__":
    unittest.main()
