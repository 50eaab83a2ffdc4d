"""The device at hand: its name and architecture before anything is built, and its memory in use.

Everything is asked of the vendors' own tools: nvidia-smi, rocminfo, rocm-smi, and the files of
AMD's driver. Where there is none of them there is nothing to tell, and the caller says so.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import time

PERIOD = 0.1  # Seconds between two looks at the memory.
MIB = 1 << 20


def output(*command):
    """What a tool prints; empty where it is missing or fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def gpu_index():
    """The tools' number of the device that programs see as their first."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        first = os.environ.get(name, "").split(",")[0]
        if first.isdigit():
            return int(first)
    return 0


def nvidia_facts():
    line = output("nvidia-smi", "-i", str(gpu_index()), "--format=csv,noheader,nounits",
                  "--query-gpu=name,driver_version,compute_cap,memory.total").strip()
    if line.count(",") != 3:
        return {}
    name, driver, capability, memory = (word.strip() for word in line.split(","))
    return {"name": name, "driver": driver, "architecture": capability.replace(".", ""),
            "memory": int(memory) * MIB}


def amd_facts():
    agents = re.split(r"\nAgent +\d+", output("rocminfo"))
    gpus = [agent for agent in agents if re.search(r"Device Type:\s+GPU", agent)]
    if len(gpus) <= gpu_index():
        return {}
    agent = gpus[gpu_index()]
    name = re.search(r"Marketing Name:\s+(.+?) *\n", agent)
    version = pathlib.Path("/sys/module/amdgpu/version")
    driver = version.read_text().strip() if version.exists() else f"Linux {os.uname().release}"
    return {"name": name.group(1) if name else "an AMD GPU", "driver": f"amdgpu, {driver}",
            "architecture": re.search(r"\bName:\s+(gfx\w+)", agent).group(1)}


def facts(backend):
    """name, driver, architecture and memory, as far as they can be found out."""
    if backend == "cuda":
        return nvidia_facts()
    if backend == "hip":
        return amd_facts()
    return (nvidia_facts() or amd_facts()) if backend == "vulkan" else {}


def amd_memory_files():
    return sorted(pathlib.Path("/sys/class/drm").glob("card*/device/mem_info_vram_used"))


def rocm_smi_used():
    cards = json.loads(output("rocm-smi", "--showmeminfo", "vram", "--json") or "{}")
    card = cards.get(f"card{gpu_index()}", {})
    return next((int(v) for k, v in card.items() if "Used" in k), None)


class MemorySampler:
    """Looks at the device's memory while it is entered; how(), greatest and samples say the rest.

    `greatest` is what the device had in use beyond what it had before. Where the driver lists the
    process that `pid` names, what it lists is `greatest_of_process`.
    """

    def __init__(self):
        self.pid = None
        self.before = self.greatest_of_process = 0
        self.samples = []
        self._stop = threading.Event()
        self._threads, self._tools = [], []

    @staticmethod
    def how():
        """What is asked, or None where there is nothing to ask."""
        if output("nvidia-smi", "-L"):
            return "nvidia-smi"
        if len(amd_memory_files()) > gpu_index():
            return "mem_info_vram_used"
        return "rocm-smi" if rocm_smi_used() is not None else None

    @property
    def greatest(self):
        return max(self.samples, default=self.before) - self.before

    def __enter__(self):
        how = self.how()
        if how == "nvidia-smi":
            self._follow("--query-gpu=memory.used", self._take_used)
            self._follow("--query-compute-apps=pid,used_memory", self._take_process)
        elif how:
            self._threads.append(threading.Thread(target=self._poll, args=(how,), daemon=True))
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + 10
        while how and not self.samples and time.monotonic() < deadline:
            time.sleep(PERIOD)
        self.before = min(self.samples, default=0)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for tool in self._tools:
            tool.terminate()
        for thread in self._threads:
            thread.join(10)
        for tool in self._tools:
            tool.wait()
            tool.stdout.close()

    def _follow(self, query, take):
        """Runs nvidia-smi in a loop of its own and hands over each line as soon as it is there."""
        unbuffered = ["stdbuf", "-oL"] if shutil.which("stdbuf") else []
        tool = subprocess.Popen(
            [*unbuffered, "nvidia-smi", "-i", str(gpu_index()), query,
             "--format=csv,noheader,nounits", "-lms", str(int(PERIOD * 1000))],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

        def read():
            for line in tool.stdout:
                take(line)
        self._tools.append(tool)
        self._threads.append(threading.Thread(target=read, daemon=True))

    def _take_used(self, line):
        if line.strip().isdigit():
            self.samples.append(int(line) * MIB)

    def _take_process(self, line):
        pid, _, used = line.partition(",")
        if pid.strip() == str(self.pid) and used.strip().isdigit():
            self.greatest_of_process = max(self.greatest_of_process, int(used) * MIB)

    def _poll(self, how):
        while not self._stop.is_set():
            used = (rocm_smi_used() if how == "rocm-smi"
                    else int(amd_memory_files()[gpu_index()].read_text()))
            if used is not None:
                self.samples.append(used)
            self._stop.wait(PERIOD)
