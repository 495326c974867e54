"""The job files of tools/cluster: the Slurm script with a stand-in of srun and, where there is one, a real Slurm; the
Kubernetes manifest."""
import os
import shutil
import socket
import subprocess
import time
import unittest

from cli_program import PROGRAM, SOURCE, ProgramTest, SmallRunTest, run

CLUSTER = SOURCE / "tools" / "cluster"

# Two tasks with the variables that Slurm sets; their worst exit code.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
export SLURM_NTASKS=2 SLURM_JOB_NODELIST=localhost SLURM_TASKS_PER_NODE=2
for rank in 0 1; do SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & tasks+=($!); done
worst=0
for task in "${tasks[@]}"; do wait $task || worst=$?; done
exit $worst
"""


class Slurm(SmallRunTest):
    SCRIPT = CLUSTER / "train.sbatch"

    def setUp(self):
        super().setUp()
        for name, text in (("srun", SRUN), ("scontrol", "#!/bin/bash\necho scontrol \"$@\"\n")):
            path = self.folder / name
            path.write_text(text)
            path.chmod(0o755)
        # Of a job of its own, so that tests beside this one use other ports.
        self.environment = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}", "RESIDUUM": PROGRAM,
                            "SLURM_JOB_ID": str(os.getpid())}

    def submit(self, *arguments):
        return subprocess.run(["bash", str(self.SCRIPT), *map(str, arguments)], capture_output=True, text=True,
                              check=False, timeout=300, env=self.environment)

    def test_tasks_train_together_and_an_ended_job_goes_on(self):
        out = self.folder / "run"
        arguments = (self.recipe, self.data, out, "--threads", 1, "--set", "train.virtual_shards=2")
        process = self.submit(*arguments)
        self.assert_ok(process)
        self.assertIn("rank 0 of 2 (Slurm)", process.stdout)
        self.assert_ok(run("train", self.recipe, "--data", self.data, "--out", self.folder / "alone", "--threads", 1,
                           "--set", "train.virtual_shards=2"))
        weights = [(path / "checkpoints" / "last.safetensors").read_bytes() for path in (out, self.folder / "alone")]
        self.assertEqual(*weights)
        self.assert_ok(self.submit(*arguments))

    def test_exit_code_75_puts_the_job_back(self):
        stopped = self.folder / "stopped"
        stopped.write_text("#!/bin/bash\nexit 75\n")
        stopped.chmod(0o755)
        self.environment["RESIDUUM"] = str(stopped)
        process = self.submit(self.recipe, self.data, self.folder / "run")
        self.assertEqual(process.returncode, 75)
        self.assertIn(f"scontrol requeue {os.getpid()}", process.stdout)

    def test_missing_arguments(self):
        self.assertEqual(self.submit("recipe.toml").returncode, 2)


SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_res
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


@unittest.skipUnless(all(map(shutil.which, ("slurmctld", "slurmd", "srun"))) and os.geteuid() == 0,
                     "Slurm is not installed, or this is not root")
class RealSlurm(Slurm):
    """The script under a Slurm of one node, whose daemons are this test's own."""

    def setUp(self):
        super().setUp()
        (self.folder / "srun").unlink()
        with socket.socket() as one, socket.socket() as two:
            ports = []
            for free in (one, two):
                free.bind(("127.0.0.1", 0))
                ports.append(free.getsockname()[1])
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        conf = self.folder / "slurm.conf"
        conf.write_text(SLURM_CONF.format(host=host, ports=ports, folder=self.folder))
        self.environment["SLURM_CONF"] = str(conf)
        self.environment.pop("SLURM_JOB_ID")
        for daemon in ("slurmctld", "slurmd"):
            log = open(self.folder / f"{daemon}.log", "w", encoding="utf-8")  # pylint: disable=consider-using-with
            process = subprocess.Popen([daemon, "-D"], stdout=log, stderr=log, env=self.environment)
            self.addCleanup(self.end, process, log)
        for _ in range(300):
            state = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False,
                                   env=self.environment).stdout.strip()
            if state == "idle":
                return
            time.sleep(0.2)
        self.fail(f"the node is '{state}': {(self.folder / 'slurmd.log').read_text()}")

    @staticmethod
    def end(process, log):
        process.kill()
        process.wait()
        log.close()

    def submit(self, *arguments):
        self.environment.update({"SLURM_NTASKS": "2", "SLURM_CPUS_PER_TASK": "2"})  # as sbatch does for its script
        return super().submit(*arguments)

    test_exit_code_75_puts_the_job_back = None
    test_missing_arguments = None


class Kubernetes(ProgramTest):
    def setUp(self):
        super().setUp()
        try:
            import yaml
        except ImportError:
            self.skipTest("python3-yaml is not installed")
        with open(CLUSTER / "train.yaml", encoding="utf-8") as file:
            self.service, self.job = yaml.safe_load_all(file)

    def test_ranks_and_names_agree(self):
        self.assertEqual((self.service["kind"], self.job["kind"]), ("Service", "Job"))
        spec = self.job["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        variables = {entry["name"]: entry.get("value") for entry in container["env"]}
        self.assertEqual(spec["completionMode"], "Indexed")
        self.assertEqual({spec["completions"], spec["parallelism"], int(variables["WORLD_SIZE"])}, {4})
        job, service = self.job["metadata"]["name"], self.service["metadata"]["name"]
        self.assertEqual(variables["MASTER_ADDR"], f"{job}-0.{service}")
        self.assertEqual(spec["template"]["spec"]["subdomain"], service)
        self.assertEqual(self.service["spec"]["selector"], {"job-name": job})
        self.assertEqual(int(variables["MASTER_PORT"]), self.service["spec"]["ports"][0]["port"])
        volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
        self.assertEqual({mount["name"] for mount in container["volumeMounts"]}, volumes)

    def test_its_command_line_is_one(self):
        (container,) = self.job["spec"]["template"]["spec"]["containers"]
        self.assertEqual(container["command"], ["residuum"])
        self.assert_ok(run(*container["args"], "--help-keys"))
        recipe = os.path.basename(container["args"][1])
        self.assertTrue((SOURCE / "models" / "recipes" / recipe).is_file(), recipe)


class Syntax(unittest.TestCase):
    def test_shell(self):
        for path in CLUSTER.glob("*.sbatch"):
            process = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
            self.assertEqual((process.returncode, process.stderr), (0, ""), path)

    @unittest.skipUnless(shutil.which("shellcheck"), "shellcheck is not installed")
    def test_shellcheck(self):
        for path in CLUSTER.glob("*.sbatch"):
            process = subprocess.run(["shellcheck", str(path)], capture_output=True, text=True, check=False)
            self.assertEqual(process.returncode, 0, process.stdout)


if __name__ == "__main__":
    unittest.main()
