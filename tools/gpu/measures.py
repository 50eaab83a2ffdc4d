"""Parts of tools/gpu-check that measure: memory over a long conversation, bandwidth, speed."""
import json
import os
import pathlib
import shutil
import statistics
import sys

import device
import gguf_header
from check import CACHE, ROOT, Failure, LeftOut

TURN_CHARACTERS = 1000
CHARACTERS_A_TOKEN = 3.2  # At most, of this repository's prose; what it came to is reported.
PEER_FLAGS = ("-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_CURL=OFF",
              "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF",
              "-DLLAMA_USE_PREBUILT_UI=OFF")
SPARE = 1 << 30  # Of device memory beside weights and cache, for either program.


def megabytes(count):
    return f"{count:,} bytes ({count / (1 << 20):.1f} MiB)"


def write_script(path, tokens):
    """User turns of the repository's own prose, a line each, of about so many tokens together."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    text = " ".join(" ".join(file.read_text().split()) for file in files)
    wanted = int(tokens * CHARACTERS_A_TOKEN)
    text = (text + " ") * (wanted // len(text) + 1)
    turns = [text[at:at + TURN_CHARACTERS].strip() for at in range(0, wanted, TURN_CHARACTERS)]
    path.write_text("\n".join(turns) + "\n")


def talk(check, name, model, tokens, *caps):
    """Plays a conversation and looks at the device's memory; (figures of each turn, sampler)."""
    script = check.out / f"{name}-turns.txt"
    write_script(script, tokens)
    with device.MemorySampler() as sampler:
        process = check.start(name, [
            check.binary("cormorant"), "chat", "-m", model, "--backend", check.backend, "--script",
            script, "-n", "40", "--temp", "0", "--kv-type", "q8_0", *caps, "--json"])
        sampler.pid = process.pid
        text = check.finish(name, process)
    turns = [json.loads(line) for line in text.splitlines() if line]
    if not turns:
        raise Failure("the conversation had no turn")
    return turns, sampler


def used(sampler):
    """The process's memory where the driver lists it, else the device's."""
    return sampler.greatest_of_process or sampler.greatest


def device_memory(check, sampler, cap):
    """What the driver saw beside the context, which the run of a tiny model shows."""
    if not sampler.samples:
        check.part.problems.append(f"{sampler.how()} gave no figure while the conversation ran")
        return
    figures = {"samples": len(sampler.samples), "greatest": used(sampler),
               "of_process": bool(sampler.greatest_of_process)}
    asked = "this process" if figures["of_process"] else "the device, less what it had before"
    check.part.lines += [
        f"By {sampler.how()} ({len(sampler.samples)} looks, {asked}): at most "
        f"{megabytes(figures['greatest'])}.", ""]
    check.part.figures["device"] = figures
    tiny, tiny_sampler = talk(check, "tiny", check.make_model("tiny", "Q4_0"), 1500, "--kv-cap",
                              "1M")
    context = used(tiny_sampler) - tiny[-1]["memory"]["peak"]
    rest = used(sampler) - context
    figures |= {"context": context, "without_context": rest}
    check.part.lines += [
        f"A tiny model's run has {megabytes(context)} beyond what its engine counts: the driver's "
        f"context and code. Without that the conversation took {megabytes(rest)}, "
        f"{rest / cap:.1%} of the cap.", ""]
    if rest > cap:
        check.part.problems.append("the driver saw more than the cap beside the context")


def conversation(check):
    tokens = 600 if check.options.quick else check.options.tokens
    turns, sampler = talk(check, "conversation", check.model(), tokens, "--mem-cap",
                          check.options.mem_cap)
    last, memory = turns[-1], turns[-1]["memory"]
    peak, cap = max(turn["memory"]["peak"] for turn in turns), memory["cap"]
    kv = last["kv"]
    check.part.figures = {
        "tokens": kv["tokens"], "turns": len(turns), "cap": cap, "engine_peak": peak,
        "host": memory["host_peak"], "rows_kept": kv["rows_kept"], "rows_full": kv["rows_full"],
        "evicted": kv["evicted_total"], "rebased": kv["rebased"],
        "decode_tok_s_first": turns[0]["decode_tok_s"], "decode_tok_s_last": last["decode_tok_s"]}
    check.part.lines += [
        f"A conversation of {kv['tokens']:,} tokens in {len(turns)} turns under `--mem-cap "
        f"{check.options.mem_cap}`: the engine counted at most {megabytes(peak)} of {cap:,}; "
        f"{kv['rows_kept']:,.0f} of {kv['rows_full']:,.0f} rows were left, positions were closed "
        f"up {kv['rebased']} times; decode {turns[0]['decode_tok_s']:.0f} tok/s in the first turn, "
        f"{last['decode_tok_s']:.0f} in the last.", ""]
    if memory["host_peak"]:
        check.part.lines += [f"Layers that did not fit took {megabytes(memory['host_peak'])} of "
                             "the host.", ""]
    if peak > cap:
        check.part.problems.append("the engine counted more than the cap")
    if kv["tokens"] < 0.9 * tokens:
        check.part.problems.append(f"only {kv['tokens']} of {tokens} tokens were read")
    if sampler.how() is None or check.backend == "cpu":
        check.part.lines += ["No tool here tells a device's memory: the figures are the engine's.",
                             ""]
        return
    device_memory(check, sampler, cap)


def bandwidth(check):
    """Bytes a second that the device's memory gives, None where there is no way to ask."""
    if check.backend not in ("cuda", "hip"):
        return None
    source, program = ROOT / "tools/gpu/copy_bandwidth.cu", check.out / "copy_bandwidth"
    found = check.device.get("architecture")
    if check.backend == "cuda":
        folder = check.environment.get("CUDA_PATH", "/usr/local/cuda")
        compiler = shutil.which("nvcc") or f"{folder}/bin/nvcc"
        command = [compiler, "-O3", "-std=c++17", *([f"-arch=sm_{found}"] if found else [])]
    else:
        compiler = shutil.which("hipcc") or "/opt/rocm/bin/hipcc"
        command = [compiler, "-O3", *([f"--offload-arch={found}"] if found else []), "-x", "hip"]
    check.run("compile-bandwidth", [*command, source, "-o", program])
    figures = check.json("bandwidth", [program])
    check.part.figures["bandwidth"] = figures
    check.part.lines += [f"Memory gives {figures['copy_gb_s']:,.0f} GB/s to copies (read and "
                         f"written), {figures['read_gb_s']:,.0f} GB/s to reads alone.", ""]
    return max(figures["copy_gb_s"], figures["read_gb_s"]) * 1e9


def peer_options(check):
    """CMake's options for the same device, and what the build needs in its environment."""
    found = check.device.get("architecture", "native")
    if check.backend == "cuda":
        folder = check.environment.get("CUDA_PATH", "/usr/local/cuda")
        compiler = shutil.which("nvcc") or f"{folder}/bin/nvcc"
        return ["-DGGML_CUDA=ON", f"-DCMAKE_CUDA_ARCHITECTURES={found}",
                f"-DCMAKE_CUDA_COMPILER={compiler}"], {}
    if check.backend == "hip":
        clang = device.output("hipconfig", "-l").strip()
        root = device.output("hipconfig", "-R").strip()
        environment = {"HIPCXX": f"{clang}/clang", "HIP_PATH": root} if clang and root else {}
        return ["-DGGML_HIP=ON", f"-DGPU_TARGETS={found}", f"-DAMDGPU_TARGETS={found}"], environment
    return (["-DGGML_VULKAN=ON"] if check.backend == "vulkan" else []), {}


def peer(check):
    """The path of llama-bench, built if none was named; None, with a problem, if that fails."""
    if check.options.peer:
        return pathlib.Path(check.options.peer).resolve()
    folder = CACHE / "peer" / check.backend
    options, environment = peer_options(check)
    try:
        check.library("fetch-peer", "fetch_peer")
        check.run("configure-peer", ["cmake", "-S", CACHE / "peer/source", "-B", folder, "-G",
                                     "Ninja", *PEER_FLAGS, *options], **environment)
        check.run("build-peer", ["cmake", "--build", folder, "--target", "llama-bench"],
                  **environment)
    except Failure as failure:
        check.part.problems.append(f"llama.cpp was not built, Cormorant ran alone: {failure}")
        return None
    return folder / "bin/llama-bench"


def fits(check, model, depth):
    """Why a model cannot be measured; empty if it can."""
    memory = check.device.get("memory")
    if not memory:
        return ""
    row = check.cormorant(f"inspect-{model.stem}", "inspect", "-m", model)["kv_bytes_per_token"]
    needed = model.stat().st_size + row * depth + SPARE
    return "" if needed <= memory else f"needs {megabytes(needed)}, the device has {memory:,}"


def random_model(check, shape):
    """The model of a shape; LeftOut where the disk has no room for it, with some to spare."""
    values = {"1B": 1.4e9, "8B": 8.8e9, "70B": 77e9}.get(shape, 0)
    bits = {"F16": 16, "Q8_0": 8.5, "Q4_1": 5}.get(check.options.type, 4.5)
    check.models.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(check.models).free
    if not check.random_model(shape, check.options.type).exists() and values * bits / 8 > free:
        raise LeftOut(f"it takes {values * bits / 8e9:.0f} GB, the disk has {free / 1e9:.0f} left")
    return check.make_model(shape, check.options.type)


def speed_of(check, name, model, depth, llama_bench, memory_rate):
    """One model beside the peer; adds a table."""
    quick = check.options.quick
    results = check.out / f"speed-{name}.json"
    results.unlink(missing_ok=True)
    environment = {"GGML_VK_VISIBLE_DEVICES": os.environ.get("GGML_VK_VISIBLE_DEVICES", "0")
                   } if check.backend == "vulkan" else {}
    table = check.run(f"side-by-side-{name}", [
        sys.executable, ROOT / "tools/bench/side_by_side.py", "-m", model, "--cormorant",
        check.binary("cormorant"), "--backend", check.backend, "--depth", depth,
        *(["--peer", llama_bench] if llama_bench else []), "--threads", min(8, os.cpu_count()),
        "--rounds", 1 if quick else check.options.rounds, "--prompt", 32 if quick else 512,
        "--generate", 8 if quick else 64, "--json", results], allow_failure=True, **environment)
    if not results.exists():
        raise Failure(f"nothing was measured (log: {check.log(f'side-by-side-{name}')}.err)")
    figures = json.loads(results.read_text())
    for program in ("cormorant", "llama.cpp") if llama_bench else ("cormorant",):
        missing = [test for test, values in figures.items() if not values[program]]
        if missing:
            check.part.problems.append(f"{name}: {program} has no figure for {'; '.join(missing)} "
                                       f"(log: {check.log(f'side-by-side-{name}')}.err)")
    check.part.lines += [f"**{name}** (`{model.name}`):", "", *table.strip().splitlines(), ""]
    decode = next(values["cormorant"] for test, values in figures.items() if test[:2] == "tg")
    read = gguf_header.bytes_per_token(model)
    if decode:
        rate = statistics.median(decode) * read
        of = f", {rate / memory_rate:.0%} of what memory gives" if memory_rate else ""
        check.part.lines += [f"Decode reads {read / 1e6:,.1f} MB of weights a token: "
                             f"{rate / 1e9:,.1f} GB/s{of}.", ""]
        figures["decode_bytes_s"] = rate
    check.part.figures[name] = figures


def speed(check):
    memory_rate = None
    try:
        memory_rate = bandwidth(check)
    except (Failure, OSError, ValueError) as failure:
        check.part.problems.append(f"bandwidth: {failure}")
    llama_bench = peer(check)
    deep = 512 if check.options.quick else check.options.depth
    models = [("SmolLM2-135M", None, min(deep, 8000))] + [
        (shape, shape, deep) for shape in (["tiny"] if check.options.quick
                                           else check.options.shapes.split(","))]
    for name, shape, depth in models:
        try:
            model = random_model(check, shape) if shape else check.model()
            why = fits(check, model, depth)
            if why:
                raise LeftOut(why)
            speed_of(check, name, model, depth, llama_bench, memory_rate)
        except LeftOut as why:
            check.part.lines += [f"**{name}** was left out: {why}.", ""]
        except (Failure, OSError, ValueError, KeyError) as failure:
            check.part.problems.append(f"{name}: {failure}")
    if len(check.part.figures) > 1:
        check.part.lines += [f"Models by shape have random weights of type {check.options.type}.",
                             ""]
