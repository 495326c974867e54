"""Training in several processes on this machine: under the program's own launcher, torchrun's variables and mpirun.

Faults are injected at a line that rank 0 has printed. Deadlines are far above what a busy machine needs.
"""
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from cli_program import PROGRAM, SmallRunTest, children, made_up_images, metric_lines, run, start, write_idx, write_png

CONFIG, USAGE, DATA, COMMUNICATION, INTERRUPTED = 3, 2, 4, 9, 75
# What a rank may be silent for, where that is to happen.
SHORT = ("--comm-timeout", 8)


class RanksTest(SmallRunTest):
    def command(self, out, *arguments):
        return ("train", self.recipe, "--data", self.data, "--out", self.folder / out, "--threads", 1, *arguments)

    def launch(self, count, out, *arguments, **options):
        return run("launch", "-n", count, "--", *self.command(out, *arguments), **options)

    def start_launch(self, count, out, *arguments):
        return start("launch", "-n", count, "--grace", 6, "--", *self.command(out, *arguments))

    def hash(self, out):
        return hashlib.sha256((self.folder / out / "checkpoints" / "last.safetensors").read_bytes()).hexdigest()

    def finish(self, process):
        """The rest of the output and the errors of a launcher that is about to end."""
        text, errors = process.communicate(timeout=180)
        return text + errors

    def assert_same_lines(self, a, b):
        """The same numbers in metrics.jsonl, apart from those of the clock."""
        def lines(out):
            found = metric_lines(self.folder / out)
            for line in found:
                line.pop("train/communication_seconds", None)
            return found
        self.assertEqual(lines(a), lines(b))


class Training(RanksTest):
    SHARDS = ("--set", "train.virtual_shards=4", "--set", "optimizer.ema_decay=0.5", "--set", "optimizer.clip_norm=1")

    def test_virtual_shards_give_the_same_bits_on_any_number_of_ranks(self):
        self.assert_ok(run(*self.command("one", *self.SHARDS)))
        for count in (2, 4):
            process = self.launch(count, f"on {count}", *self.SHARDS)
            self.assert_ok(process)
            self.assertEqual(self.hash(f"on {count}"), self.hash("one"))
            self.assert_same_lines(f"on {count}", "one")
            self.assertRegex(process.stdout, rf"ranks +rank 0 of {count} \(torchrun's variables\), TCP; .* collectives")
            self.assertNotIn("warning", process.stderr)
            for line in ("step 2/8", "test  step 4", "\nweights "):
                self.assertEqual(process.stdout.count(line), 1, "rank 0 alone reports: " + process.stdout)
        self.assert_ok(run(*self.command("without")))
        self.assertNotEqual(self.hash("without"), self.hash("one"))

    def test_without_virtual_shards_each_rank_has_its_own_batch_norm(self):
        self.assert_ok(self.launch(3, "three", "--batch", 12))
        self.assert_ok(self.launch(3, "again", "--batch", 12, "--set", "train.bucket_bytes=1000"))
        self.assertEqual(self.hash("three"), self.hash("again"))
        lines = metric_lines(self.folder / "three")
        waited = [line["train/communication_seconds"] for line in lines if "train/loss" in line]
        self.assertTrue(waited and all(seconds > 0 for seconds in waited), lines)
        self.assertEqual([line["test/top1"] * 40 % 1 for line in lines if "test/top1" in line], [0, 0])

    def test_resumes_on_another_number_of_ranks_with_the_same_bits(self):
        self.data = write_idx(self.folder / "data with a long evaluation", test=2000)
        self.assert_ok(self.launch(2, "whole", *self.SHARDS))
        for line in ("step 2/8", "step 4/8"):  # the second one comes right before an evaluation, which is broken off
            out = f"stopped at {line.replace('/', ' of ')}"
            process = self.start_launch(4, out, *self.SHARDS)
            self.wait_for(process, line)
            process.send_signal(signal.SIGTERM)
            text = self.finish(process)
            self.assertIn(process.returncode, (INTERRUPTED, 0), text)  # a very fast run may have ended before
            self.assert_ok(run("train", "--resume", "--out", self.folder / out))
            self.assertEqual(self.hash(out), self.hash("whole"))
            self.assert_same_lines(out, "whole")

    def test_one_rank_alone_gets_the_signal_and_all_stop_at_one_step(self):
        process = self.start_launch(2, "run", "--epochs", 100000, "--set", "checkpoint.every=0")
        self.wait_for(process, "step 2/")
        os.kill(children(process)[1], signal.SIGTERM)
        text = self.finish(process)
        self.assertEqual(process.returncode, INTERRUPTED, text)
        self.assertIn("interrupted after step", text)

    def test_a_signal_to_the_whole_group_is_one_request(self):
        # As timeout(1) and service managers send it: each rank gets it from them and from the launcher.
        process = start("launch", "-n", 2, "--", *self.command("run", "--epochs", 100000, "--set", "checkpoint.every=0"),
                        start_new_session=True)
        self.wait_for(process, "step 2/")
        os.killpg(process.pid, signal.SIGTERM)
        text = self.finish(process)
        self.assertEqual(process.returncode, INTERRUPTED, text)
        self.assertIn("interrupted after step", text)

    def test_synchronised_batch_norm_follows_one_rank(self):
        options = ("--set", "train.sync_batch_norm=true", "--set", "optimizer.lr=0.01", "--set", "train.log_every=1",
                   "--steps", 3)
        self.assert_ok(run(*self.command("one", *options)))
        self.assert_ok(self.launch(2, "two", *options))
        losses = [[line["train/loss"] for line in metric_lines(self.folder / out) if "train/loss" in line]
                  for out in ("one", "two")]
        self.assertEqual(len(losses[0]), 3)
        for one, two in zip(*losses):
            self.assertAlmostEqual(one, two, delta=1e-4 * abs(one))
        without = self.launch(2, "without", *options, "--disable-pass", "sync_batch_norm")
        self.assertEqual(without.returncode, CONFIG, without.stderr)
        self.assertIn("has 'sync_batch_norm', which this training cannot do without", without.stderr)


class UnreadableSamples(RanksTest):
    """64 images for training, of which each rank alone meets fewer unreadable ones than all together."""

    def setUp(self):
        super().setUp()
        self.data = self.folder / "images"
        for split, count in (("train", 64), ("test", 16)):
            images, labels = made_up_images(count, 8, 2, 1)
            for number, (pixels, label) in enumerate(zip(images, labels)):
                path = self.data / split / str(label) / f"{number:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_png(path, pixels, 8)
                if number < 4:
                    path.write_bytes(path.read_bytes()[:20])

    def limited(self, limit):
        return ("--set", f"data.bad_sample_limit={limit}", "--set", "train.virtual_shards=2")

    def test_they_are_counted_on_all_ranks_together(self):
        process = self.launch(2, "three", *self.limited(3))
        self.assertEqual(process.returncode, DATA, process.stderr)
        for rank in (0, 1):
            self.assertRegex(process.stderr, rf"error: rank {rank}: 4 samples could not be read on all ranks together, "
                                             r"data.bad_sample_limit is 3; the last ones are [0-9]+")
        self.assert_ok(self.launch(2, "four", *self.limited(4)))
        self.assert_ok(run(*self.command("alone", *self.limited(4))))
        self.assertEqual(self.hash("four"), self.hash("alone"))

    def test_those_of_the_test_split_too(self):
        for path in sorted(self.data.glob("train/*/0[0-3].png")):
            shutil.copy(self.data / "train" / path.parent.name / f"{int(path.stem) + 10}.png", path)
        process = self.launch(2, "run", *self.limited(3), "--set", "train.eval_batch=8")
        self.assertEqual(process.returncode, DATA, process.stderr)
        self.assertIn("4 samples of the test split could not be read on all ranks together", process.stderr)


class Faults(RanksTest):
    def started(self, *arguments):
        process = self.start_launch(3, "run", "--epochs", 100000, "--batch", 12, *arguments)
        self.wait_for(process, "step 2/")
        return process

    def test_killed_rank_is_named_by_the_others(self):
        process = self.started()
        victim = children(process)[2]
        os.kill(victim, signal.SIGKILL)
        text = self.finish(process)
        self.assertEqual(process.returncode, COMMUNICATION, text)
        self.assertRegex(text, rf"residuum: error: rank 0: rank 2 \(.*, process {victim}\) has died")
        self.assertRegex(text, rf"residuum: error: rank 1: rank 2 \(.*, process {victim}\) has died")
        self.assertRegex(text, r"rank 1: collective #\d+ '.*', \d+ bytes, began .* ms ago")
        self.assertIn("rank 2 (process", text)

    def test_first_rank_can_die_too(self):
        process = self.started()
        os.kill(children(process)[0], signal.SIGKILL)
        text = self.finish(process)
        self.assertEqual(process.returncode, COMMUNICATION, text)
        for rank in (1, 2):
            self.assertRegex(text, rf"residuum: error: rank {rank}: rank 0 \(.*\) has died")

    def test_frozen_rank_is_named_by_the_others(self):
        process = self.started(*SHORT)
        victim = children(process)[1]
        os.kill(victim, signal.SIGSTOP)
        text = self.finish(process)  # the launcher ends the frozen one
        self.assertEqual(process.returncode, COMMUNICATION, text)
        for rank in (0, 2):
            self.assertRegex(text, rf"error: rank {rank}: rank 1 \(.*, process {victim}\) has not answered for \d+ s")

    def test_a_job_that_was_suspended_goes_on(self):
        process = self.start_launch(2, "run", "--epochs", 100000, "--comm-timeout", 4)
        self.wait_for(process, "step 2/")
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for rank in children(process):
                os.kill(rank, number)
            if number == signal.SIGSTOP:
                time.sleep(7)  # longer than any rank may be silent
        printed = sum(len(process.stdout.readline()) for _ in range(1500))
        if printed <= 1 << 16:  # what the pipe held before
            self.fail(process.stderr.read())
        process.send_signal(signal.SIGTERM)
        text = self.finish(process)
        self.assertEqual(process.returncode, INTERRUPTED, text)

    def test_error_of_one_rank_ends_all(self):
        process = self.launch(2, "run", "--resume", "--set", "train.virtual_shards=3")
        self.assertEqual(process.returncode, CONFIG, process.stderr)
        process = self.launch(3, "run")
        self.assertEqual(process.returncode, CONFIG, process.stderr)
        self.assertIn("train.batch is 16, allowed for 3 ranks with 1 micro-steps each are multiples of 3", process.stderr)


class Launcher(RanksTest):
    def test_exit_code_is_that_of_the_rank_at_fault(self):
        self.assert_ok(self.launch(2, "run"))
        process = self.launch(2, "run")
        self.assertEqual(process.returncode, CONFIG, process.stderr)
        self.assertIn("rank 0: '", process.stderr)
        self.assertRegex(process.stderr, r"error: rank 1: rank 0 \(.*\) stopped: .* already holds a run")


class AllReduceBench(RanksTest):
    def test_bandwidths_are_those_of_nccl_tests(self):
        for count in (1, 2, 3):
            found = self.json_of(run("launch", "-n", count, "--", "bench", "allreduce", "--device", "cpu", "--min-bytes",
                                     1000, "--max-bytes", 100000, "--factor", 10, "--repeats", 3, "--json", "-"))
            self.assertEqual(found["ranks"], count)
            self.assertEqual([row["bytes"] for row in found["sizes"]], [1000, 10000, 100000])
            for row in found["sizes"]:
                self.assertEqual(row["wrong"], 0)
                self.assertGreater(row["seconds"], 0)
                self.assertAlmostEqual(row["algorithm_bytes_per_second"], row["bytes"] / row["seconds"], delta=1)
                bus = row["algorithm_bytes_per_second"] * 2 * (count - 1) / count
                self.assertAlmostEqual(row["bus_bytes_per_second"], bus, delta=1)
                time = row["time_us"]
                self.assertLessEqual(time["p20"], time["median"])
                self.assertLessEqual(time["median"], time["p80"])
                self.assertEqual(time["samples"], 3)
                self.assertAlmostEqual(time["median"], row["seconds"] * 1e6)

    def test_results_are_files_that_compare(self):
        file = self.folder / "sums.json"
        process = run("launch", "-n", 2, "--", "bench", "allreduce", "--device", "cpu", "--min-bytes", "1K", "--max-bytes",
                      "5KB", "--repeats", 2, "--json", file)
        self.assert_ok(process)
        self.assertIn("bus GB/s", process.stdout)
        report = json.loads(file.read_text())
        self.assertEqual(report["kind"], "allreduce")
        self.assertTrue(report["environment"]["device"])
        process = run("bench", "compare", file, file)
        self.assert_ok(process)
        self.assertIn("1024 bytes over 2 ranks", process.stdout)
        self.assertIn("2 compared, 0 regressions", process.stdout)
        alone = run("bench", "allreduce", "--device", "cpu", "--max-bytes", "1K", "--repeats", 1)
        self.assert_ok(alone)
        self.assertIn("one rank has nothing to add to", alone.stderr)
        self.assert_refused(run("bench", "allreduce", "--cublas"), USAGE, "--cublas")  # it multiplies nothing


class Start(RanksTest):
    def rank(self, rank, port, out, *arguments, ranks=2):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
                       "MASTER_PORT": str(port)}
        return start(*self.command(out, *arguments), env=environment)

    def port(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    def test_different_recipes_are_refused_with_the_difference(self):
        port = self.port()
        ranks = [self.rank(0, port, "run"), self.rank(1, port, "run", "--lr", 0.2, "--seed", 7)]
        for process in ranks:
            errors = process.communicate(timeout=120)[1]
            self.assertEqual(process.returncode, CONFIG, errors)
            self.assertIn("optimizer.lr: rank 0 0.05, rank 1 0.2", errors)
            self.assertIn("train.seed: rank 0 1, rank 1 7", errors)
        self.assertFalse((self.folder / "run" / "recipe.toml").exists())

    def test_missing_rank_is_named(self):
        port = self.port()
        errors = self.rank(0, port, "run", "--comm-timeout", 1).communicate(timeout=120)[1]
        self.assertRegex(errors, rf"rank 0 has waited 1 s at port {port} of .* for rank 1 of 2")
        errors = self.rank(1, port, "run", "--comm-timeout", 1).communicate(timeout=120)[1]
        self.assertRegex(errors, rf"rank 1 has waited 1 s for rank 0 at 127.0.0.1:{port} \(Connection refused\)")

    def test_other_number_of_ranks_is_refused(self):
        port = self.port()
        ranks = [self.rank(0, port, "run"), self.rank(1, port, "run", ranks=3)]
        for process in ranks:
            errors = process.communicate(timeout=120)[1]
            self.assertEqual(process.returncode, COMMUNICATION, errors)
            self.assertIn("was started as one of 3 ranks, rank 0 as one of 2", errors)

    def test_launch_variables_that_contradict(self):
        environment = {**os.environ, "SLURM_PROCID": "0", "SLURM_NTASKS": "2", "OMPI_COMM_WORLD_RANK": "1",
                       "OMPI_COMM_WORLD_SIZE": "2"}
        self.assert_refused(run(*self.command("run"), env=environment), USAGE, "Slurm says rank 0 of 2, MPI says rank 1")


@unittest.skipUnless(shutil.which("mpirun"), "mpirun is not installed")
class Mpi(RanksTest):
    def mpirun(self, count, *command):
        words = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", count, PROGRAM, *command]
        # Loopback alone, and no search for remote shells.
        environment = {**os.environ, "OMPI_MCA_plm": "isolated", "OMPI_MCA_btl": "self,vader,tcp",
                       "OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
        return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=300,
                              env=environment)

    def setUp(self):
        super().setUp()
        version = run("version", "--json")
        if not json.loads(version.stdout)["libraries"].get("mpi"):
            self.skipTest("the program was built without MPI")

    def test_same_bits_as_one_process(self):
        self.assert_ok(run(*self.command("one", *Training.SHARDS)))
        for count in (2, 4):
            process = self.mpirun(count, *self.command(f"on {count}", *Training.SHARDS))
            self.assert_ok(process)
            self.assertRegex(process.stdout, rf"ranks +rank 0 of {count} \(MPI\), ")
            self.assertNotIn("TCP", process.stdout)
            self.assertEqual(self.hash(f"on {count}"), self.hash("one"))

    def test_sums_by_mpi_are_right_and_timed(self):
        process = self.mpirun(2, "bench", "allreduce", "--device", "cpu", "--max-bytes", "64K", "--repeats", 3, "--json", "-")
        found = self.json_of(process)
        self.assertRegex(found["network"], r"rank 0 of 2 \(MPI\), (?!TCP)")
        self.assertEqual([(row["bytes"], row["wrong"]) for row in found["sizes"]],
                         [(1024, 0), (4096, 0), (16384, 0), (65536, 0)])

    def test_error_of_one_rank_ends_all(self):
        process = self.mpirun(2, *self.command("run", "--batch", 7))
        self.assertNotEqual(process.returncode, 0)
        self.assertTrue(re.search(r"rank \d: train.batch is 7", process.stderr), process.stderr)


if __name__ == "__main__":
    unittest.main()
