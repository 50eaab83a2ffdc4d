"""Parts of tools/gpu-check about being right: build, conformance, sanitizers, logits."""
import json
import os
import pathlib
import re
import shutil
import sys

from check import CACHE, ROOT, Failure, LeftOut

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
QUICK_TESTS = "*RmsNorm"
KL_MOST = 1e-5  # Of f16 rows, as in tests/api/golden_test.cc.


def architecture_option(check):
    """What the module is compiled for: the device at hand."""
    if check.backend not in ("cuda", "hip"):
        return []
    found = check.device.get("architecture")
    if not found:
        tool = {"cuda": "nvidia-smi", "hip": "rocminfo"}[check.backend]
        check.part.problems.append(f"{tool} shows no device; built for the default architectures")
        return []
    return [f"-DCORMORANT_{check.backend.upper()}_ARCHITECTURES={found}"]


def install(check):
    """Packages and, for CUDA, a compiler, as tools/test has them."""
    has_hipcc = shutil.which("hipcc") or pathlib.Path("/opt/rocm/bin/hipcc").exists()
    wants_hip = check.backend == "hip" and not has_hipcc
    check.library("packages", 'install_packages "${hip_packages[@]}" >&2' if wants_hip
                  else "install_packages >&2")
    if check.backend == "cuda":
        folder = check.library("nvcc", 'fetch_nvcc >&2; echo "${CUDA_PATH:-}"').strip()
        if folder:
            check.environment["CUDA_PATH"] = folder


def build(check):
    if check.options.build:
        check.binary("cormorant")
        raise LeftOut("`--build` names one that is taken as it is")
    if not check.options.no_install:
        install(check)
    choices = [f"-DCORMORANT_{name}={'ON' if name.lower() == check.backend else 'OFF'}"
               for name in ("CUDA", "HIP", "VULKAN")]
    check.run("configure", ["cmake", "-S", ROOT, "-B", check.build, "-G", "Ninja",
                            "-DCMAKE_BUILD_TYPE=Release", *choices, *architecture_option(check)])
    module = [] if check.backend == "cpu" else [f"cormorant_{check.backend}"]
    check.run("build", ["cmake", "--build", check.build, "--target", "cormorant_cli",
                        "conformance_tests", "api_tests", *module])


def count_results(path):
    """(run, failed, skipped, names of failed) of gtest's JSON."""
    tests = [(f"{suite['name']}.{test['name']}", test)
             for suite in json.loads(path.read_text())["testsuites"]
             for test in suite["testsuite"] if test["status"] == "RUN"]
    failed = [name for name, test in tests if test.get("failures")]
    skipped = [name for name, test in tests if test["result"] == "SKIPPED"]
    return len(tests), len(failed), len(skipped), failed


def run_tests(check, name, binary, tests, wrapper=(), **environment):
    """Counts of one run of a test binary; what failed becomes problems. Also what it printed."""
    results = check.log(f"{name}.json")
    results.unlink(missing_ok=True)
    text = check.run(name, [*wrapper, check.binary(binary), f"--gtest_filter={tests}",
                            f"--gtest_output=json:{results}"], allow_failure=True, **environment)
    if not results.exists():
        said = check.log(f"{name}.err").read_text(errors="replace") or text
        raise Failure(f"{binary} ended early with {check.last_status}: "
                      f"{' / '.join(said.splitlines()[-4:])[-600:]}")
    run, failed, skipped, names = count_results(results)
    if failed:
        check.part.problems.append(f"{name}: {failed} of {run} failed: {', '.join(names[:5])}")
    if run == skipped:
        check.part.problems.append(f"{name}: no test could run; is there a device?")
    counts = {"run": run, "passed": run - failed - skipped, "failed": failed, "skipped": skipped}
    return counts, text


def conformance_filter(check, names=""):
    return f"{names}*/{check.backend}{'_*' if check.backend == 'cpu' else ''}"


def conformance(check):
    tests = conformance_filter(check, QUICK_TESTS if check.options.quick else "")
    counts, _ = run_tests(check, "all", "conformance_tests", tests)
    check.part.figures = counts
    check.part.table(counts.keys(), counts.values())


def find_sanitizer(check):
    """compute-sanitizer of the toolkit, or PyPI's."""
    folders = [check.environment.get("CUDA_PATH", ""), "/usr/local/cuda"]
    path = ":".join([os.environ["PATH"], *(f"{f}/bin:{f}/compute-sanitizer" for f in folders if f)])
    found = shutil.which("compute-sanitizer", path=path)
    if found:
        return found
    if check.options.no_install:
        raise LeftOut("there is no compute-sanitizer")
    try:
        check.library("fetch", "fetch_sanitizer")
    except Failure as failure:
        raise LeftOut(f"there is no compute-sanitizer, and {failure}") from failure
    return next(CACHE.glob("sanitizer/nvidia/*/bin/compute-sanitizer"))


def sanitizers(check):
    if check.backend != "cuda":
        raise LeftOut(f"compute-sanitizer is for CUDA, this is {check.backend}")
    sanitizer = find_sanitizer(check)
    tests = conformance_filter(check, QUICK_TESTS if check.options.quick else "")
    rows = [("tool", "errors", "tests passed", "skipped")]
    for tool in TOOLS:
        try:
            counts, text = run_tests(check, tool, "conformance_tests", tests,
                                     (sanitizer, "--tool", tool, "--print-limit", "20"))
        except Failure as failure:
            check.part.problems.append(f"{tool}: {failure}")
            continue
        summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", text)
        errors = int(summary[-1]) if summary else None
        if errors != 0:
            check.part.problems.append(f"{tool}: {errors} errors (log: {check.log(tool)}.out)")
        rows.append((tool, errors, counts["passed"], counts["skipped"]))
        check.part.figures[tool] = {"errors": errors, **counts}
    check.part.table(*rows)


def golden(check):
    """The tests of the library that compare a backend with exact arithmetic and the CPU."""
    tests = "Way/Golden.*/device*:Resident.TheDevice*:Device.LayersThatDoNotFit*"
    if check.backend == "cpu":  # Which has no memory too small for a model.
        tests = "Way/Golden.*/device*:Resident.TheDevice*-*/device_and_cpu"
    counts, text = run_tests(check, "tests", "api_tests", tests, CORMORANT_TEST_MODEL=check.model(),
                             CORMORANT_TEST_BACKEND=check.backend)
    if counts["skipped"]:
        check.part.problems.append(f"{counts['skipped']} tests skipped: the device did not open")
    rows = [("logits of SmolLM2 against exact arithmetic", "KL", "same first choice")]
    pattern = r"Arithmetic/(\w+)\s*\nKL (\S+), first choices (\d+) of (\d+)"
    for way, divergence, first, of in re.findall(pattern, text):
        rows.append((way.replace("_", " "), divergence, f"{first} of {of}"))
        check.part.figures[way] = {"kl": float(divergence), "top1": int(first) / int(of)}
    check.part.table(*rows)
    rows_agree = re.search(r"(\d+) of (\d+) rows agree", text)
    if rows_agree:
        shared, rows = map(int, rows_agree.groups())
        check.part.lines += [f"Under a cap, {shared:,} of {rows:,} rows that CORM keeps are the "
                             f"CPU backend's too ({shared / rows:.2%}).", ""]
        check.part.figures["resident"] = {"shared": shared, "rows": rows}
    check.part.figures["tests"] = counts


def logits_beside_cpu(check):
    """Logits of the same text on the CPU and on the device."""
    tokens = 64 if check.options.quick else 1024
    files = []
    for backend in ("cpu", check.backend):
        files.append(check.out / f"logits-{backend}.f32")
        check.cormorant(f"logits-{backend}", "logits", "-m", check.model(), "--backend", backend,
                        "-f", ROOT / "README.md", "--tokens", tokens, "-o", files[-1])
    found = check.json("compare", [sys.executable, ROOT / "tools/gpu/compare_logits.py", *files,
                                   tokens], **check.writer())
    for file in set(files):
        file.unlink()
    check.part.figures["beside_cpu"] = found
    if not found["finite"]:
        raise Failure("logits are not finite")
    check.part.table(("against the CPU backend, tokens", "mean KL", "greatest KL",
                      "greatest difference of a logit", "same first choice"),
                     (found["tokens"], f"{found['kl_mean']:.3g}", f"{found['kl_max']:.3g}",
                      f"{found['difference_max']:.3g}", f"{found['top1_agreement']:.2%}"))
    if found["kl_mean"] > KL_MOST:
        check.part.problems.append(f"mean KL {found['kl_mean']:.3g} is above {KL_MOST}")


def logits(check):
    try:
        golden(check)
    except Failure as failure:  # The other comparison needs none of it.
        check.part.problems.append(str(failure))
    logits_beside_cpu(check)
