"""Whole runs on a small made-up data set: training, evaluation, prediction, and every way to be interrupted.

Interruptions are steered by what the program has written, never by time: a run is signalled after a certain line.
"""
import csv
import json
import math
import os
import pty
import shutil
import signal
import struct
import subprocess
import unittest

from cli_program import PROGRAM, SmallRunTest, made_up_images, metric_lines, read_safetensors, run, start, write_png

CONFIG, DATA, CHECKPOINT, IO, INTERRUPTED = 3, 4, 5, 6, 75


class SmallRun(SmallRunTest):
    """One data set and one recipe; the uninterrupted run is what the others are compared with."""

    def command(self, out, *arguments):
        return ("train", self.recipe, "--data", self.data, "--out", self.folder / out, *arguments)

    def train(self, out, *arguments, **options):
        return run(*self.command(out, *arguments), **options)

    def weights(self, out):
        return (self.folder / out / "checkpoints" / "last.safetensors").read_bytes()

    def assert_same_run(self, a, b):
        self.assertEqual(self.weights(a), self.weights(b))
        self.assertEqual(metric_lines(self.folder / a), metric_lines(self.folder / b))

    def stop_after(self, process, line_start, number):
        """Sends a signal once the program has printed a line that begins so; returns what it printed after it."""
        for line in process.stdout:
            if line.startswith(line_start):
                process.send_signal(number)
                break
        return process.communicate(timeout=120)[0]


class Train(SmallRun):
    def test_files_and_result(self):
        process = self.train("run", "--json")
        result = self.json_of(process)
        self.assertEqual(len(process.stdout.splitlines()), 1)
        self.assertEqual((result["steps"], result["interrupted"]), (8, False))
        self.assertEqual(result["test"]["samples"], 40)
        out = self.folder / "run"
        for name in ("recipe.toml", "environment.json", "metrics.jsonl", "metrics.csv", "checkpoints/last.safetensors",
                     "checkpoints/best.safetensors"):
            self.assertTrue((out / name).is_file(), name)
        self.assertEqual(len(list(out.glob("events.out.tfevents.*"))), 1)
        environment = json.loads((out / "environment.json").read_text())
        for key in ("commit", "device", "compiler", "libraries", "host", "command_line", "date"):
            self.assertTrue(environment[key], key)
        lines = metric_lines(out)
        self.assertEqual([line["step"] for line in lines if "train/loss" in line], [2, 4, 6, 8])
        self.assertEqual([line["step"] for line in lines if "test/top1" in line], [4, 8])
        self.assertTrue(all(math.isfinite(line["train/loss"]) for line in lines if "train/loss" in line))

    def test_report_before_and_during(self):
        text = self.train("run").stdout
        for word in ("device", "parameters", "64 training images", "peak", "without reuse",
                     "launches", "step 2/8", "step 8/8", "test  step 4", "images/s", "data "):
            self.assertIn(word, text)
        self.assertLess(text.index("peak"), text.index("step 2/8"))

    def test_threads_change_nothing(self):
        self.assert_ok(self.train("one", "--threads", 1))
        self.assert_ok(self.train("three", "--threads", 3))
        self.assertEqual(self.weights("one"), self.weights("three"))

    def test_seed_changes_the_weights(self):
        self.assert_ok(self.train("one", "--seed", 1))
        self.assert_ok(self.train("two", "--seed", 2))
        self.assertNotEqual(self.weights("one"), self.weights("two"))

    def test_without_a_recipe(self):
        process = run("train", "--model", "cifar_resnet8", "--data", self.data, "--steps", 2, "--batch", 8, "--lr",
                      0.01, "--out", self.folder / "run", "--json")
        self.assertEqual(self.json_of(process)["steps"], 2)
        recipe = (self.folder / "run" / "recipe.toml").read_text()
        for line in ("steps = 2", "batch = 8", "lr = 0.01", f'path = "{self.data}"'):
            self.assertIn(line, recipe)

    def test_default_directory_is_named_after_the_model(self):
        process = run("train", self.recipe, "--data", self.data, "--steps", 1, "--json", cwd=self.folder)
        out = self.json_of(process)["out"]
        self.assertTrue(out.startswith("runs/cifar_resnet8-"), out)
        self.assertTrue((self.folder / out / "recipe.toml").is_file())

    def on_terminal(self, kind, out):
        """What a run prints on a terminal of a kind."""
        leader, follower = pty.openpty()
        process = subprocess.Popen([PROGRAM, *map(str, self.command(out))], stdout=follower,
                                   env={**os.environ, "TERM": kind})
        os.close(follower)
        text = b""
        try:
            while chunk := os.read(leader, 4096):
                text += chunk
        except OSError:  # how a pseudo-terminal ends
            pass
        os.close(leader)
        self.assertEqual(process.wait(120), 0)
        return text

    def test_terminal_shows_a_bar(self):
        text = self.on_terminal("xterm", "run")
        self.assertIn(b"epoch 2/2 [", text)
        self.assertIn(b"\r\x1b[K", text)
        self.assertIn(b"test  step 8", text)

    def test_a_terminal_that_cannot_clear_a_line_shows_lines(self):
        text = self.on_terminal("dumb", "run")
        self.assertIn(b"step 8/8", text)
        self.assertNotIn(b"\x1b", text)

    def test_starts_from_weights(self):
        self.assert_ok(self.train("whole", "--epochs", 4))
        whole = metric_lines(self.folder / "whole")
        weights = os.path.relpath(self.folder / "whole" / "checkpoints" / "last.safetensors")
        process = self.train("more", "--weights", weights, "--epochs", 1, "--lr", 0.001)
        self.assert_ok(process)
        self.assertIn("training starts from", process.stderr)
        losses = [line["train/loss"] for line in metric_lines(self.folder / "more") if "train/loss" in line]
        first, last = (line["train/loss"] for line in (whole[0], whole[-2]))
        self.assertLess(abs(losses[0] - last), abs(losses[0] - first))
        self.assertIn(f'weights = "{self.folder.resolve()}', (self.folder / "more" / "recipe.toml").read_text())
        self.assertNotIn("warning", process.stderr)
        process = self.train("other", "--weights", weights, "--set", "data.mean=[0.25]", "--set", "data.std=[0.5]")
        self.assertIn("data.mean = [] and data.std = [], this run has [0.25] and [0.5]", process.stderr)
        self.assert_refused(self.train("none", "--weights", "absent.safetensors"), CHECKPOINT, "absent.safetensors")

    def test_a_finished_run_has_nothing_left_to_do(self):
        self.assert_ok(self.train("run"))
        again = self.train("run", "--resume")
        self.assert_ok(again)
        self.assertIn("no step was left to do: the run has ended at step 8", again.stdout)

    def test_diverged_losses_are_readable(self):
        process = self.train("run", "--lr", 1000, "--set", "optimizer.weight_decay=10", "--epochs", 20,
                             "--set", "train.nan_policy=skip")
        self.assert_ok(process)
        self.assertRegex(process.stdout, r"loss \d\.\d{4}e\+\d+")
        self.assertNotRegex(process.stdout, r"\d{12}|-nan|nan %")

    def test_a_folder_without_a_split_and_classes_without_samples_are_told_of(self):
        classes = self.folder / "classes"
        images, labels = made_up_images(16, 8, 2, 1)
        for i, (image, label) in enumerate(zip(images, labels)):
            (classes / str(label)).mkdir(parents=True, exist_ok=True)
            write_png(classes / str(label) / f"{i}.png", image, 8)
        process = run("train", self.recipe, "--data", classes, "--out", self.folder / "run", "--epochs", 1,
                      "--set", "model.classes=3")
        self.assert_ok(process)
        self.assertIn("has no split", process.stderr)
        process = run("eval", "--run", self.folder / "run")
        self.assertIn("has 2 classes and the model 3", process.stderr)

    def test_closed_output_does_not_stop_training(self):
        process = start(*self.command("run"))
        process.stdout.close()
        process.stdout = None
        process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0)
        self.assert_ok(self.train("other"))
        self.assertEqual(self.weights("run"), self.weights("other"))


class Report(SmallRun):
    """The page of a run and its numbers; tests/browser opens one."""

    def report(self, *arguments):
        process = run("report", *arguments)
        if "no chart library" in process.stderr:
            self.skipTest("this build has no chart library")
        return process

    def csv_rows(self, folder, ending):
        (path,) = folder.glob(f"*-{ending}.csv")
        with open(path, newline="") as file:
            return list(csv.reader(file))

    def test_one_run(self):
        trained = self.json_of(self.train("run", "--json"))
        out = self.folder / "run"
        (out / "report.html").unlink(missing_ok=True)
        results = self.json_of(self.report(out, "--csv", self.folder / "csv", "--json"))
        self.assertEqual(trained["report"], str(out / "report.html"), "train writes the page, too")
        self.assertEqual(results["page"], str(out / "report.html"))
        page = (out / "report.html").read_text()
        self.assertIn("<h1>Training of cifar_resnet8</h1>", page)
        lines = metric_lines(out)
        (row,) = results["runs"]
        self.assertEqual(row["last_top1"], [line["test/top1"] for line in lines if "test/top1" in line][-1])
        self.assertEqual(row["best_top1"], max(line["test/top1"] for line in lines if "test/top1" in line))
        paced = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        paces = [line["train/images_per_second"] for line in paced if "train/images_per_second" in line]
        seconds = sum(2 * 16 / pace for pace in paces)  # a line for each 2 steps of 16 images
        self.assertAlmostEqual(row["images_per_second"] * seconds / (len(paces) * 2 * 16), 1, places=6)
        self.assertAlmostEqual(row["images_per_second"] / trained["images_per_second"], 1, places=6)
        loss = self.csv_rows(self.folder / "csv", "loss")
        self.assertEqual(loss[0], ["series", "step", "loss"])
        for name, metric in (("training", "train/loss"), ("test", "test/loss")):
            wanted = [(line["step"], line[metric]) for line in lines if metric in line]
            self.assertEqual([(int(step), float(value)) for series, step, value in loss[1:] if series == name], wanted)

    def test_several_runs(self):
        self.assert_ok(self.train("a"))
        self.assert_ok(self.train("b", "--lr", 0.2, "--set", "optimizer.ema_decay=0.5"))
        runs = (self.folder / "a", self.folder / "b")
        self.assert_refused(run("report", *runs), 2, "--out")
        page = self.folder / "both.html"
        self.assert_ok(self.report(*runs, "--out", page, "--csv", self.folder / "csv"))
        self.assertIn("<h1>2 training runs</h1>", page.read_text())
        self.assertEqual(self.csv_rows(self.folder / "csv", "where-the-recipes-differ"),
                         [["key", "a", "b"], ["optimizer.lr", "0.05", "0.2"], ["optimizer.ema_decay", "0.0", "0.5"]])
        names = {row[0] for row in self.csv_rows(self.folder / "csv", "loss-test")[1:]}
        self.assertEqual(names, {"a", "b, averaged weights"})

    def test_an_interrupted_line_is_left_out(self):
        self.assert_ok(self.train("run"))
        metrics = self.folder / "run" / "metrics.jsonl"
        whole = metrics.read_text()
        metrics.write_text(whole + whole.splitlines()[0][:20])
        self.assert_ok(self.report(self.folder / "run", "--csv", self.folder / "csv"))
        self.assertEqual(len(self.csv_rows(self.folder / "csv", "learning-rate")), 1 + 4)

    def test_what_is_no_run_is_refused(self):
        self.assert_refused(run("report", self.folder), DATA, str(self.folder), "recipe.toml")
        self.assert_refused(run("report", self.folder / "absent"), DATA, "absent")


class EvalAndPredict(SmallRun):
    def setUp(self):
        super().setUp()
        self.assert_ok(self.train("run", "--epochs", 6))
        self.out = self.folder / "run"

    def test_eval_agrees_with_the_run(self):
        last = metric_lines(self.out)[-1]
        found = self.json_of(run("eval", "--run", self.out, "--json"))
        self.assertEqual((found["samples"], found["classes"]), (40, 10))
        self.assertEqual(found["top1"] / found["samples"], last["test/top1"])
        self.assertEqual(found["top5"] / found["samples"], last["test/top5"])
        self.assertEqual(found["loss"], last["test/loss"])

    def test_weights_file_of_a_run_is_evaluated_as_in_the_run(self):
        weights = self.out / "checkpoints" / "last.safetensors"
        by_run = self.json_of(run("eval", "--run", self.out, "--json"))
        by_file = self.json_of(run("eval", "--model", "cifar_resnet8", "--weights", weights, "--data", self.data,
                                   "--batch", 7, "--json"))
        self.assertEqual([by_run[key] for key in ("top1", "top5", "samples")],
                         [by_file[key] for key in ("top1", "top5", "samples")])
        self.assertAlmostEqual(by_run["loss"], by_file["loss"], places=5)

    def test_logits_give_the_counts(self):
        logits_file = self.folder / "logits.safetensors"
        found = self.json_of(run("eval", "--run", self.out, "--logits", logits_file, "--batch", 7, "--json"))
        tensors = read_safetensors(logits_file)
        self.assertEqual((tensors["logits"][0], tensors["logits"][1]), ("F32", [40, 10]))
        values = struct.unpack("<400f", tensors["logits"][2])
        labels = struct.unpack("<40q", tensors["labels"][2])
        self.assertEqual(list(labels), [i % 10 for i in range(40)])
        rows = [values[i * 10:(i + 1) * 10] for i in range(40)]
        self.assertEqual(sum(max(range(10), key=row.__getitem__) == label for row, label in zip(rows, labels)),
                         found["top1"])
        process = run("eval", "--run", self.out, "--data", "absent", "--logits", self.folder / "none" / "logits.safetensors")
        self.assert_refused(process, IO, "none/logits.safetensors")  # before the data are looked for

    def test_train_split(self):
        found = self.json_of(run("eval", "--run", self.out, "--split", "train", "--json"))
        self.assertEqual(found["samples"], 64)

    def test_wrong_model_names_the_tensors(self):
        weights = self.out / "checkpoints" / "last.safetensors"
        process = run("eval", "--model", "cifar_resnet14", "--weights", weights, "--data", self.data)
        self.assert_refused(process, CHECKPOINT, "30 missing (first layer1.1.")
        self.assertEqual(len(process.stderr.splitlines()), 2, "the device, and one line of error")

    def test_predict_agrees_with_the_logits(self):
        logits_file = self.folder / "logits.safetensors"
        self.assert_ok(run("eval", "--run", self.out, "--logits", logits_file))
        values = struct.unpack("<400f", read_safetensors(logits_file)["logits"][2])
        images, _ = made_up_images(40, 8, 10, 2)
        paths = []
        for i in (3, 14):
            paths.append(self.folder / f"{i}.png")
            write_png(paths[-1], images[i], 8)
        found = self.json_of(run("predict", "--run", self.out, *paths, "--json"))
        for entry, i in zip(found["images"], (3, 14)):
            row = values[i * 10:(i + 1) * 10]
            order = sorted(range(10), key=lambda c: -row[c])[:5]
            total = sum(math.exp(v - max(row)) for v in row)
            self.assertEqual([c["index"] for c in entry["classes"]], order)
            for predicted in entry["classes"]:
                expected = math.exp(row[predicted["index"]] - max(row)) / total
                self.assertAlmostEqual(predicted["probability"], expected, places=4)

    def test_predict_with_a_net_without_convolutions(self):
        self.assert_ok(self.train("connected", "--epochs", 1, "--model", "mnist_plain3_8"))
        write_png(self.folder / "a.png", made_up_images(1, 8, 10, 2)[0][0], 8)
        found = self.json_of(run("predict", "--run", self.folder / "connected", self.folder / "a.png", "--json"))
        self.assertEqual(len(found["images"][0]["classes"]), 5)
        weights = self.folder / "connected" / "checkpoints" / "last.safetensors"
        alone = self.folder / "alone.safetensors"
        shutil.copy(weights, alone)
        without_data = run("predict", "--model", "mnist_plain3_8", "--weights", alone, self.folder / "a.png", "--json")
        self.assertEqual(self.json_of(without_data)["images"], found["images"])

    def test_weights_know_the_names_of_their_classes(self):
        names = [f"thing {i}" for i in range(10)]
        (self.data / "classes.txt").write_text("\n".join(names))
        self.assert_ok(self.train("named", "--epochs", 1))
        weights = self.folder / "alone.safetensors"
        shutil.move(self.folder / "named" / "checkpoints" / "last.safetensors", weights)
        write_png(self.folder / "a.png", made_up_images(1, 8, 10, 2)[0][0], 8)
        predict = ("predict", "--model", "cifar_resnet8", "--weights", weights, self.folder / "a.png", "--json")
        (classes,) = [image["classes"] for image in self.json_of(run(*predict))["images"]]
        self.assertEqual([c["name"] for c in classes], [names[c["index"]] for c in classes])
        self.assert_refused(run(*predict, "--data", self.folder / "gone"), DATA, "gone")
        evaluate = ("eval", "--model", "cifar_resnet8", "--weights", weights, "--data", self.data)
        self.assertNotIn("warning", run(*evaluate).stderr)
        names[3] = "another thing"
        (self.data / "classes.txt").write_text("\n".join(names))
        self.assertRegex(run(*evaluate).stderr, "class 3 of .* is 'another thing', .* was trained on is 'thing 3'")
        (classes,) = [image["classes"] for image in self.json_of(run(*predict, "--data", self.data))["images"]]
        self.assertEqual([c["name"] for c in classes], [names[c["index"]] for c in classes], "--data says how")

    def test_predict_refuses_what_is_no_image(self):
        path = self.folder / "text.png"
        path.write_text("no image")
        self.assert_refused(run("predict", "--run", self.out, path), DATA, "text.png")


class Interruptions(SmallRun):
    def setUp(self):
        super().setUp()
        self.assert_ok(self.train("whole"))

    def test_killed_run_resumes_to_the_same_bits(self):
        for line in ("step 2/8", "step 4/8", "test  step 4", "step 6/8"):
            out = f"killed after {line.replace('/', ' of ')}"
            process = start(*self.command(out))
            self.stop_after(process, line, signal.SIGKILL)
            self.assertEqual(process.returncode, -signal.SIGKILL)
            self.assert_ok(run("train", "--resume", "--out", self.folder / out))
            self.assert_same_run(out, "whole")

    def test_terminated_run_saves_and_says_how_to_go_on(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            out = f"stopped by {number.name}"
            # Saved by the signal alone: no checkpoint is due before the end of an epoch.
            process = start(*self.command(out, "--set", "checkpoint.every=0", "--epochs", 100000))
            text = self.stop_after(process, "step 2/", number)
            self.assertEqual(process.returncode, INTERRUPTED)
            self.assertIn("--resume", text)
            states = list((self.folder / out / "checkpoints").glob("state-*.json"))
            self.assertTrue(states, out)

    def test_interrupted_run_resumes_to_the_same_bits(self):
        process = start(*self.command("stopped", "--set", "train.log_every=1"))
        self.stop_after(process, "step 1/", signal.SIGTERM)
        # A very fast run may have ended before the signal came.
        self.assertIn(process.returncode, (INTERRUPTED, 0))
        self.assert_ok(run("train", "--resume", "--out", self.folder / "stopped", "--set", "train.log_every=2"))
        self.assertEqual(self.weights("stopped"), self.weights("whole"))

    def test_killed_while_saving_resumes_to_the_same_bits(self):
        for fault in ("write:9:KILL", "fsync:5:KILL", "rename:6:KILL", "rename:11:KILL"):
            out = "killed at " + fault.replace(":", " ")
            process = self.train(out, env={**os.environ, "RESIDUUM_FAULT": fault})
            self.assertNotEqual(process.returncode, 0, fault)
            self.assert_ok(self.train(out, "--resume"))
            self.assert_same_run(out, "whole")

    def test_finished_run_resumes_to_nothing(self):
        before = self.weights("whole")
        process = run("train", "--resume", "--out", self.folder / "whole", "--json")
        self.assertEqual(self.json_of(process)["steps"], 8)
        self.assertEqual(self.weights("whole"), before)

    def test_other_numbers_are_refused(self):
        process = run("train", "--resume", "--out", self.folder / "whole", "--batch", 8)
        self.assert_refused(process, CONFIG, "train.batch")

    def test_switches_that_decide_bits_belong_to_the_run(self):
        resume = ("train", "--resume", "--out", self.folder / "whole")
        self.assert_refused(run(*resume, "--disable-pass", "rematerialize"), CONFIG, "train.disable_passes")
        self.assert_ok(run(*resume, "--disable-pass", "memory_reuse", "--disable-pass", "second_stream"))
        recipe = (self.folder / "whole" / "recipe.toml").read_text()
        self.assertIn('disable_passes = ["memory_reuse", "second_stream"]', recipe)

    def test_second_job_is_refused(self):
        first = start(*self.command("shared", "--epochs", 100000))
        next(line for line in first.stdout if line.startswith("step 2/"))
        second = self.train("shared", "--resume")
        first.kill()
        first.communicate()
        self.assert_refused(second, IO, str(first.pid))

    def test_run_is_not_overwritten(self):
        self.assert_refused(self.train("whole"), CONFIG, "resume")


if __name__ == "__main__":
    unittest.main()
