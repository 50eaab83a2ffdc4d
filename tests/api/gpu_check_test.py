"""The parts of tools/gpu-check that no run without a GPU reaches: what vendors' tools say.

Method: tools with the vendors' names, first in PATH, print what the real ones do. Then a whole run
whose every part fails, which must still leave a report.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tools/gpu"))
import correctness
import device

NVIDIA_SMI = """#!/bin/sh
case "$*" in
  *-L*) echo "GPU 0: NVIDIA H100" ;;
  *query-gpu=name*) echo "NVIDIA H100 80GB HBM3, 580.65.06, 9.0, 81559" ;;
  *query-gpu=memory.used*) echo 500; sleep 0.3; echo 900; sleep 0.1; exec sleep 60 ;;
  *query-compute-apps*) echo "17, 222"; echo "18, 5"; echo "17, 111"; exec sleep 60 ;;
esac
"""
ROCMINFO = """#!/bin/sh
cat <<'END'
HSA Agents
==========
*******
Agent 1
*******
  Name:                    AMD EPYC 9654
  Marketing Name:          AMD EPYC 9654
  Device Type:             CPU
*******
Agent 2
*******
  Name:                    gfx942
  Marketing Name:          AMD Instinct MI300X
  Device Type:             GPU
  ISA Info:
    ISA 1
      Name:                    amdgcn-amd-amdhsa--gfx942:sramecc+:xnack-
END
"""


class GpuCheck(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{self.folder}:{before}"
        self.addCleanup(os.environ.__setitem__, "PATH", before)

    def tool(self, name, text):
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def test_nvidia_device(self):
        self.tool("nvidia-smi", NVIDIA_SMI)
        self.assertEqual(device.facts("cuda"), {
            "name": "NVIDIA H100 80GB HBM3", "driver": "580.65.06", "architecture": "90",
            "memory": 81559 << 20})

    def test_amd_device(self):
        self.tool("rocminfo", ROCMINFO)
        found = device.facts("hip")
        self.assertEqual((found["name"], found["architecture"]), ("AMD Instinct MI300X", "gfx942"))

    def test_no_device(self):
        self.tool("nvidia-smi", "#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
        self.assertEqual(device.facts("cuda"), {})
        self.assertEqual(device.facts("cpu"), {})

    def test_memory_is_sampled(self):
        self.tool("nvidia-smi", NVIDIA_SMI)
        with device.MemorySampler() as sampler:
            sampler.pid = 17
            deadline = time.monotonic() + 20
            while len(sampler.samples) < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
        self.assertEqual(sampler.greatest, 400 << 20)

    def test_results_are_counted(self):
        tests = [{"name": "a", "status": "RUN", "result": "COMPLETED"},
                 {"name": "b", "status": "RUN", "result": "SKIPPED"},
                 {"name": "c", "status": "RUN", "result": "COMPLETED", "failures": [{}]},
                 {"name": "d", "status": "NOTRUN", "result": "SUPPRESSED"}]
        path = self.folder / "results.json"
        path.write_text(json.dumps({"testsuites": [{"name": "S", "testsuite": tests}]}))
        self.assertEqual(correctness.count_results(path), (3, 1, 1, ["S.c"]))

    def test_every_part_fails_and_there_is_a_report(self):
        done = subprocess.run(
            [sys.executable, ROOT / "tools/gpu-check", "--backend", "cpu", "--quick",
             "--no-install", "--build", self.folder / "nowhere", "--peer", "/bin/false", "--out",
             self.folder, "--skip", "sanitizers", "--models-folder", self.folder],
            capture_output=True,
            text=True, check=False, env={**os.environ, "CORMORANT_TEST_MODEL": "/nowhere.gguf"})
        self.assertEqual(done.returncode, 1, done.stderr)
        report = json.loads((self.folder / "report.json").read_text())
        self.assertEqual({part["name"]: part["status"] for part in report["parts"]}, {
            name: "failed" for name in ("build", "conformance", "logits", "conversation", "speed")})
        self.assertIn("| speed | failed |", (self.folder / "report.md").read_text())


if __name__ == "__main__":
    unittest.main()
