"""Two ranks of the program on one GPU, with real NCCL; on a machine without a GPU the same tests run the emulated one.

NCCL refuses ranks that share a GPU; the program has it take them for ranks of two machines (NCCL_HOSTID).
"""
import hashlib
import os
import signal
import unittest

from cli_program import SmallRunTest, children, metric_lines, read_safetensors, run, start, write_idx

DEVICE, COMMUNICATION = 7, 9
# The ranks share it, whatever else is there.
os.environ["CUDA_VISIBLE_DEVICES"] = "0"


def bench(ranks, max_bytes):
    return run("launch", "-n", ranks, "--", "bench", "allreduce", "--device", "cuda", "--max-bytes", max_bytes,
               "--repeats", 3, "--json", "-")


class GpuRanksTest(SmallRunTest):
    def setUp(self):
        super().setUp()
        process = bench(1, 1024)
        if process.returncode == DEVICE and any(word in process.stderr for word in ("no NVIDIA driver", "no GPU that")):
            self.skipTest("there is no GPU: " + process.stderr.strip())
        if "NCCL" not in self.json_of(process)["network"]:
            self.skipTest("RESIDUUM_NCCL_LIBRARY names no NCCL: " + process.stderr.strip())
        write_idx(self.data, train=12, test=8)

    def command(self, out, *arguments):
        return ("train", self.recipe, "--device", "cuda", "--data", self.data, "--out", self.folder / out, "--batch", 4,
                "--set", "data.threads=1", *arguments)

    def weights(self, out):
        return self.folder / out / "checkpoints" / "last.safetensors"


class Sums(GpuRanksTest):
    def test_one_rank_and_two_add_correctly(self):
        for ranks in (1, 2):
            process = bench(ranks, 65536)
            found = self.json_of(process)
            self.assertRegex(found["network"], rf"rank 0 of {ranks} .*NCCL 2\.")
            self.assertEqual([row["bytes"] for row in found["sizes"]], [1024, 4096, 16384, 65536])
            self.assertEqual([row["wrong"] for row in found["sizes"]], [0, 0, 0, 0])
            self.assertEqual("ranks 0, 1 share one GPU" in process.stderr, ranks == 2, process.stderr)


class Training(GpuRanksTest):
    STEPS = ("--steps", 3, "--set", "optimizer.clip_norm=1", "--set", "train.bucket_bytes=20000")

    def test_sums_of_two_ranks_are_those_of_two_parts_on_one(self):
        """Two numbers have one sum, whatever way NCCL takes, so every bit is the same."""
        self.assert_ok(run(*self.command("one", *self.STEPS, "--set", "train.virtual_shards=2")))
        process = run("launch", "-n", 2, "--", *self.command("two", *self.STEPS, "--set", "train.log_every=1"))
        self.assert_ok(process)
        self.assertRegex(process.stdout, r"ranks +rank 0 of 2 .*NCCL 2\..* in [0-9]+ collectives a step")
        self.assertEqual(read_safetensors(self.weights("one")), read_safetensors(self.weights("two")))
        waited = [line["train/communication_seconds"] for line in metric_lines(self.folder / "two") if "train/loss" in line]
        self.assertEqual(len(waited), 3)
        self.assertTrue(all(seconds >= 0 for seconds in waited) and sum(waited) > 0, waited)

    def test_virtual_shards_give_one_checkpoint_on_one_rank_and_two(self):
        options = (*self.STEPS, "--set", "train.virtual_shards=4", "--precision", "bf16")
        self.assert_ok(run(*self.command("one", *options)))
        process = run("launch", "-n", 2, "--", *self.command("two", *options))
        self.assert_ok(process)
        self.assertRegex(process.stdout, r"NCCL 2\.[0-9.]+ in fixed order")
        self.assertEqual(*(hashlib.sha256(self.weights(out).read_bytes()).hexdigest() for out in ("one", "two")))


class Faults(GpuRanksTest):
    def test_killed_and_frozen_ranks_are_named(self):
        """NCCL's kernels wait for ever for a rank that is gone: the monitor ends them."""
        # A frozen rank has to be ended by the launcher, after the other one has said why it ends.
        for out, fault, grace, said in (("killed", signal.SIGKILL, 30, "has died"),
                                        ("frozen", signal.SIGSTOP, 2, r"has not answered for \d+ s")):
            process = start("launch", "-n", 2, "--grace", grace, "--",
                            *self.command(out, "--epochs", 100000, "--set", "train.log_every=1", "--comm-timeout", 8))
            self.wait_for(process, "step 2/")
            victim = children(process)[1]
            os.kill(victim, fault)
            text = "".join(process.communicate(timeout=180))
            self.assertEqual(process.returncode, COMMUNICATION, text)
            self.assertRegex(text, rf"residuum: error: rank 0: rank 1 \(.*, process {victim}\) {said}")
            self.assertRegex(text, r"rank 0: collective #\d+ 'NCCL sum .*', \d+ bytes, began")


if __name__ == "__main__":
    unittest.main()
