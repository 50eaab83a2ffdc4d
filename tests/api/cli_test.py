"""The command line as scripts see it: exit codes, JSON fields, what goes to which stream.

    cli_test.py CORMORANT CONVERSATION     paths of the two executables

Tests that need a model take it from CORMORANT_TEST_MODEL (SmolLM2-135M-Instruct) and are skipped
without it.
"""
import json
import math
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

CLI, CONVERSATION = sys.argv[1:3]
MODEL = os.environ.get("CORMORANT_TEST_MODEL", "")
VOCAB = 49152
TEXT = ("The sea was calm that morning, and the keeper of the lighthouse made tea before she "
        "climbed the stairs to clean the lamp. ") * 12

needs_model = unittest.skipUnless(MODEL, "CORMORANT_TEST_MODEL names no model")


def run(*arguments, text_in="", timeout=300, **environment):
    """Runs the command line; stdout and stderr as bytes."""
    return subprocess.run([CLI, *map(str, arguments)], input=text_in.encode(), timeout=timeout,
                          capture_output=True, check=False, env={**os.environ, **environment})


def vulkan(**environment):
    """The first Vulkan device that is listed; None in a build without the backend."""
    devices = json.loads(run("devices", "--json", **environment).stdout)
    return next((d for d in devices if d["backend"] == "vulkan"), None)


class CliTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, name, content):
        path = pathlib.Path(self.folder.name) / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def fails(self, code, words, *arguments):
        """Ends with `code`, says `words` on stderr and nothing on stdout."""
        done = run(*arguments)
        message = done.stderr.decode()
        self.assertEqual(done.returncode, code, message)
        for word in words:
            self.assertIn(word, message)
        self.assertEqual(done.stdout, b"")

    def json(self, *arguments, text_in=""):
        done = run(*arguments, text_in=text_in)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return json.loads(done.stdout)

    def has(self, result, fields):
        for field in fields.split():
            self.assertIn(field, result)


class Modules(CliTest):
    """Backends in libraries of their own: what is missing or damaged is said, never fatal."""

    def test_library_that_is_no_module_is_listed_with_the_reason(self):
        self.file("libcormorant_junk.so", "junk")
        done = run("devices", "--json", CORMORANT_MODULE_DIR=self.folder.name)
        junk = [d for d in json.loads(done.stdout) if "junk" in d["name"]]
        self.assertEqual(len(junk), 1)
        self.assertFalse(junk[0]["usable"])
        self.assertNotEqual(junk[0]["reason"], "")

    def test_missing_module_is_an_error_that_names_what_there_is(self):
        done = run("inspect", "-m", MODEL or "x.gguf", "--backend", "vulkan", "--json",
                   CORMORANT_MODULE_DIR=self.folder.name)
        if MODEL:
            problems = json.loads(done.stdout)["problems"]
            self.assertIn("not in this build; there are: cpu", problems[0])

    @unittest.skipIf(vulkan() is None, "built without Vulkan")
    def test_no_driver_is_an_ordinary_result(self):
        device = vulkan(VK_ICD_FILENAMES="/nonexistent")
        self.assertFalse(device["usable"])
        self.assertIn("no driver", device["reason"])

    @needs_model
    @unittest.skipIf(vulkan() is None, "built without Vulkan")
    def test_software_driver_is_used_by_name_only(self):
        device = vulkan()
        if not device["usable"] or not device["by_name_only"]:
            self.skipTest("no software driver")
        plan = self.json("inspect", "-m", MODEL, "--json")["plan"]
        self.assertEqual(plan["backend"], "cpu")
        plan = self.json("inspect", "-m", MODEL, "--backend", "vulkan", "--json")["plan"]
        self.assertEqual(plan["backend"], "vulkan")

    @needs_model
    @unittest.skipIf(vulkan() is None, "built without Vulkan")
    def test_pipelines_are_kept_and_a_damaged_file_is_made_anew(self):
        if not vulkan()["usable"]:
            self.skipTest("no usable Vulkan device")
        ask = ("run", "-m", MODEL, "--backend", "vulkan", "-p", "Hi", "-n", "1", "--temp", "0",
               "--ctx", "256", "--json")
        first = run(*ask, CORMORANT_CACHE_DIR=self.folder.name)
        self.assertEqual(first.returncode, 0, first.stderr.decode())
        kept = list(pathlib.Path(self.folder.name).glob("vulkan-*.bin"))
        self.assertEqual(len(kept), 1)
        whole = kept[0].read_bytes()
        damaged = whole[:-1] + bytes([whole[-1] ^ 1])
        kept[0].write_bytes(damaged)
        again = run(*ask, CORMORANT_CACHE_DIR=self.folder.name)
        self.assertEqual(again.returncode, 0, again.stderr.decode())
        self.assertEqual(json.loads(again.stdout)["text"], json.loads(first.stdout)["text"])
        self.assertNotEqual(kept[0].read_bytes(), damaged)


class Usage(CliTest):
    def test_version_and_help(self):
        self.assertRegex(run("--version").stdout.decode(), r"^cormorant \d+\.\d+\.\d+\n$")
        commands = ("run", "chat", "bench", "eval", "tune", "logits", "tokenize", "detokenize",
                    "template", "inspect", "devices", "policies")
        overview = run("help")
        self.assertEqual(overview.returncode, 0)
        for command in commands:
            self.assertIn(command, overview.stdout.decode())
            of_command = run(command, "--help")
            self.assertEqual(of_command.returncode, 0)
            self.assertEqual(run("help", command).stdout, of_command.stdout)
        options = run("run", "--help").stdout.decode()
        for option in ("--backend --device --threads --mem-cap --kv-cap --kv-type --ctx --evict "
                       "--corm-window --corm-recent --corm-basis --corm-scale --evict-interval "
                       "--pin-prompt --seed --json --quiet --verbose --prefill-chunk --sinks "
                       "--temp --top-k --top-p --min-p --raw").split():
            self.assertIn(option, options)

    def test_typos_are_bad_usage_with_a_hint(self):
        self.fails(2, ["chta", "chat"], "chta")
        self.fails(2, ["--kv-cpa", "--kv-cap"], "run", "-m", "x", "-p", "y", "--kv-cpa", "8M")
        self.fails(2, ["command"])
        self.fails(2, ["--model"], "run", "-p", "hello")
        self.fails(2, ["--prompt"], "run", "-m", "x")
        self.fails(2, ["12Q", "24M"], "run", "-m", "x", "-p", "y", "--kv-cap", "12Q")
        self.fails(2, ["f17", "q8_0"], "run", "-m", "x", "-p", "y", "--kv-type", "f17")
        self.fails(2, ["dodo", "corm", "window"], "run", "-m", "x", "-p", "y", "--evict", "dodo")
        self.fails(2, ["--positions"], "run", "-m", "x", "-p", "y", "--positions", "shifted")
        self.fails(2, ["--corm-basis"], "run", "-m", "x", "-p", "y", "--corm-basis", "maybe")
        self.fails(2, ["--threads"], "run", "-m", "x", "-p", "y", "--threads", "-1")
        self.fails(2, ["chat"], "help", "chatt")

    def test_missing_files_fail_by_name(self):
        self.fails(1, ["/nowhere/model.gguf"], "run", "-m", "/nowhere/model.gguf", "-p", "hi")
        self.fails(1, ["/nowhere/model.gguf"], "inspect", "-m", "/nowhere/model.gguf")
        self.fails(1, ["/nowhere/text"], "run", "-m", "/nowhere/model.gguf", "-f", "/nowhere/text")

    def test_damaged_model_fails_by_name(self):
        path = self.file("broken.gguf", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60))
        self.fails(1, [path], "run", "-m", path, "-p", "hi")
        self.fails(1, [path], "inspect", "-m", path)
        self.fails(1, [path], "tokenize", "-m", path, "-p", "hi")

    def test_devices_and_policies(self):
        devices = self.json("devices", "--json")
        self.assertTrue(any(d["backend"] == "cpu" and d["usable"] for d in devices))
        for device in devices:
            self.has(device, "backend index name usable reason memory_total memory_free")
        names = [policy["name"] for policy in self.json("policies", "--json")]
        for name in ("none", "corm", "corm-values", "snapkv", "keydiff", "expected-attention",
                     "window"):
            self.assertIn(name, names)
            self.assertIn(name.encode(), run("policies").stdout)
        self.assertIn(b"cpu", run("devices").stdout)

    def test_template_prints_the_text_alone(self):
        template = self.file("t.jinja", "{{ bos_token }}{% for m in messages %}[{{ m.role }}]"
                             "{{ m.content }}{% endfor %}{{ eos_token }}"
                             "{% if add_generation_prompt %}>{% endif %}")
        messages = self.file("m.json", json.dumps([{"role": "user", "content": "h\u00e9"}]))
        base = ("template", "--messages", messages, "--template", template)
        self.assertEqual(run(*base, "--bos", "^", "--eos", "$").stdout.decode(), "^[user]h\u00e9$>")
        self.assertEqual(run(*base, "--no-generation-prompt").stdout.decode(), "[user]h\u00e9")
        self.fails(2, ["--template"], "template", "--messages", messages)
        self.fails(1, ["JSON"], "template", "--messages", template, "--template", template)


@needs_model
class Tokens(CliTest):
    def test_a_file_is_taken_as_it_is(self):
        text = b"  \r\nEnd without newline \xf0\x9f\x90\xa6 <|im_end|>\n\n"
        ids = self.json("tokenize", "-m", MODEL, "-f", self.file("t", text))
        self.assertTrue(all(isinstance(i, int) for i in ids))
        self.assertEqual(run("detokenize", "-m", MODEL, "--ids", json.dumps(ids)).stdout, text)
        self.assertEqual(run("detokenize", "-m", MODEL, "--ids", *ids).stdout, text)
        listed = ",".join(map(str, ids))
        self.assertEqual(run("detokenize", "-m", MODEL, "--ids", listed).stdout, text)

    def test_special_tokens_only_when_asked_for(self):
        plain = self.json("tokenize", "-m", MODEL, "-p", "<|im_end|>")
        special = self.json("tokenize", "-m", MODEL, "-p", "<|im_end|>", "--parse-special")
        self.assertGreater(len(plain), 1)
        self.assertEqual(len(special), 1)
        self.assertEqual(run("detokenize", "-m", MODEL, "--ids", *special, "--special").stdout,
                         b"<|im_end|>")
        self.fails(1, ["token"], "detokenize", "-m", MODEL, "--ids", "999999")
        self.fails(1, ["x7"], "detokenize", "-m", MODEL, "--ids", "x7")

    def test_template_of_the_model(self):
        messages = self.file("m.json", json.dumps([{"role": "system", "content": "S"},
                                                   {"role": "user", "content": "U"}]))
        self.assertEqual(run("template", "-m", MODEL, "--messages", messages).stdout.decode(),
                         "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
                         "<|im_start|>assistant\n")


@needs_model
class Inspect(CliTest):
    def test_fields(self):
        result = self.json("inspect", "-m", MODEL, "--kv-cap", "24M", "--json")
        self.has(result, "architecture parameters tensors context kv_bytes_per_token plan "
                 "supported problems")
        self.assertEqual(result["kv_bytes_per_token"], 23040)
        self.assertIn(b"architecture: llama", run("inspect", "-m", MODEL).stdout)


@needs_model
class Run(CliTest):
    FIELDS = ("text prompt_tokens generated_tokens prompt_tok_s decode_tok_s stop_reason memory kv")
    MEMORY = "cap used peak weights kv_pages kv_metadata activations staging program"
    KV = "rows_kept rows_full bytes bytes_full_f16 evicted_total evicted_forced per_layer"

    def test_json_has_its_fields_and_stdout_nothing_else(self):
        result = self.json("run", "-m", MODEL, "-p", "What is the capital of France?", "-n", 40,
                           "--temp", 0, "--json")
        self.has(result, self.FIELDS)
        self.has(result["memory"], self.MEMORY)
        self.has(result["kv"], self.KV)
        self.assertIn("Paris", result["text"])
        self.assertEqual(len(result["kv"]["per_layer"]), 30)
        self.assertGreater(result["prompt_tokens"], 10)
        self.assertGreater(result["decode_tok_s"], 0)
        self.assertIn(result["stop_reason"], ("end", "length"))
        m = result["memory"]
        self.assertEqual(m["used"], sum(m[part] for part in self.MEMORY.split()[3:]))

    def test_text_streams_to_stdout_and_figures_to_stderr(self):
        done = run("run", "-m", MODEL, "-p", "Say hello.", "-n", 12, "--temp", 0, "--verbose")
        as_json = self.json("run", "-m", MODEL, "-p", "Say hello.", "-n", 12, "--temp", 0, "--json")
        self.assertEqual(done.stdout.decode(), as_json["text"] + "\n")
        self.assertIn("tok/s", done.stderr.decode())

    def test_raw_goes_on_from_the_text(self):
        result = self.json("run", "-m", MODEL, "-p", "One, two, three,", "-n", 8, "--temp", 0,
                           "--raw", "--json")
        self.assertIn("four", result["text"])
        self.assertEqual(result["stop_reason"], "length")
        self.assertEqual(result["generated_tokens"], 8)

    def test_a_cap_that_is_too_small_is_code_3_and_names_one_that_works(self):
        self.fails(3, ["cap"], "run", "-m", MODEL, "-p", "hi", "--kv-cap", "100K")
        self.fails(3, ["cap"], "run", "-m", MODEL, "-p", "hi", "--mem-cap", "10M")

    def test_policy_none_at_the_cap_is_a_failure_that_keeps_the_text(self):
        done = run("run", "-m", MODEL, "-f", self.file("long", TEXT * 4), "--kv-cap", "8M",
                   "--evict", "none", "--json", "-n", 5)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["stop_reason"], "cap")
        self.assertIn("cap", done.stderr.decode())

    def test_interrupt_is_130(self):
        with subprocess.Popen([CLI, "run", "-m", MODEL, "-p", "Count to a million.", "-n", "100000",
                               "--kv-cap", "8M", "--json", "--verbose"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            os.set_blocking(process.stderr.fileno(), False)
            seen, end = b"", time.time() + 60
            while len(seen) < 20 and time.time() < end:
                seen += process.stderr.read() or b""
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(json.loads(out)["stop_reason"], "cancelled")


@needs_model
class Chat(CliTest):
    def test_script_is_one_object_a_turn(self):
        saved = str(pathlib.Path(self.folder.name) / "saved.json")
        script = self.file("script", "My name is Ada.\n\nWhat is /etc for?\n/save " + saved + "\n")
        done = run("chat", "-m", MODEL, "--script", script, "-n", 16, "--temp", 0, "--json",
                   "--kv-cap", "8M", "--system", "Be brief.")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        turns = [json.loads(line) for line in done.stdout.decode().splitlines()]
        self.assertEqual([turn["turn"] for turn in turns], [1, 2])
        for turn in turns:
            self.has(turn, Run.FIELDS)
            self.assertLessEqual(turn["memory"]["kv_peak"], 8 << 20)
        messages = json.loads(pathlib.Path(saved).read_text())
        self.assertEqual([m["role"] for m in messages],
                         ["system", "user", "assistant", "user", "assistant"])
        # What was saved goes on in another process, through a pipe.
        done = run("chat", "-m", MODEL, "-n", 8, "--temp", 0, "--json",
                   text_in=f"/load {saved}\nWhat is my name?\n")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertGreater(json.loads(done.stdout)["prompt_tokens"], turns[0]["prompt_tokens"])

    def test_script_prints_the_conversation(self):
        script = self.file("s", "Hello!\n")
        done = run("chat", "-m", MODEL, "--script", script, "-n", 8, "--verbose")
        self.assertIn("> Hello!", done.stdout.decode())
        self.assertIn("tok/s", done.stderr.decode())
        self.assertIn("KV cache, peak", done.stderr.decode())

    def test_policy_none_at_the_cap_says_what_to_do(self):
        script = self.file("s", "Hello!\n" + TEXT * 4 + "\nStill there?\n")
        done = run("chat", "-m", MODEL, "--script", script, "-n", 8, "--kv-cap", "8M", "--evict",
                   "none", "--json")
        self.assertEqual(done.returncode, 1)
        turns = [json.loads(line) for line in done.stdout.decode().splitlines()]
        self.assertEqual([turn["stop_reason"] for turn in turns][1:], ["cap"])
        self.assertIn("/save", done.stderr.decode())

    def test_pin_purge_and_audit(self):
        saved = pathlib.Path(self.folder.name) / "saved.json"
        script = self.file("script", f"The code is marzipan.\n/pin 2\n/unpin 2\n/pin\n/pin 9\n"
                           f"/purge\n/purge 2\n/purge x\n/save {saved}\n/audit\nHello!\n")
        done = run("chat", "-m", MODEL, "--script", script, "-n", 8, "--temp", 0, "--json",
                   "--audit", 5, "--zero-pages", "--system", "Be brief.")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        errors = done.stderr.decode()
        self.assertIn("Message 2, ", errors)
        self.assertIn("Message 3, ", errors)
        self.assertIn("is never dropped", errors)
        self.assertIn("may be dropped", errors)
        self.assertIn("Message 3 is erased.", errors)
        self.assertIn("Message 2 is erased.", errors)
        self.assertEqual(errors.count("there are 3."), 1)
        self.assertEqual(errors.count("there are 1."), 1)
        self.assertNotIn("marzipan", saved.read_text())
        turns = [json.loads(line) for line in done.stdout.decode().splitlines()]
        self.assertEqual(turns[0]["audit"]["records"], [])
        answer, question = turns[1]["audit"]["records"]
        self.assertEqual(answer["cause"], "purge")
        self.assertEqual(question["cause"], "purge")
        self.assertEqual(question["positions"][0][1] + 1, answer["positions"][0][0])
        self.assertIn(json.dumps(answer["positions"], separators=(",", ":")), errors)

    def test_what_is_retained_is_not_purged(self):
        script = self.file("script", "Never open valve nine.\n/retain 1\n/retain-host 2\n"
                           "/purge 2\n/unpin 1\n/stats\n/release 2\n/purge 2\n/audit\n"
                           f"Thank you. {' '.join((TEXT * 3).split())}\n/stats\n")
        done = run("chat", "-m", MODEL, "--script", script, "-n", 8, "--temp", 0, "--json",
                   "--audit", 50, "--system", "Be brief.", "--pin-prompt", "host", "--kv-cap", "6M",
                   "--kv-type", "q8_0", "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        errors = done.stderr.decode()
        for said in ("tokens, is retained.", "tokens, is retained on the host.",
                     "are retained on the host; corm_session_release() them first",
                     "are retained; corm_session_release() them first", "is retained no more.",
                     "Message 2 is erased."):
            self.assertIn(said, errors)
        for cause in ("retain", "refused", "release", "purge"):
            self.assertIn(f'"cause":"{cause}"', errors)
        last = json.loads(done.stdout.decode().splitlines()[-1])
        self.assertEqual(last["kv"]["retained_rows"], last["kv"]["host_rows"])
        result = self.json("run", "-m", MODEL, "--raw", "-f", self.file("t", TEXT * 3), "-n", 2,
                           "--json", "--kv-cap", "6M", "--kv-type", "q8_0", "--pin-prompt", "host")
        self.assertGreater(result["kv"]["retained_rows"], 0)
        self.assertGreater(result["kv"]["retained_bytes"], 0)
        self.fails(2, ["--pin-prompt"], "run", "-m", MODEL, "-p", "Hello", "--pin-prompt", "maybe")

    def test_recall_looks_through_copies(self):
        script = self.file("s", "My dog is called Rex. Please remember that.\n"
                           f"Here is a passage that I like. {' '.join((TEXT * 3).split())}\n"
                           "What is the name of my dog?\n")
        done = run("chat", "-m", MODEL, "--script", script, "-n", 12, "--temp", 0, "--json",
                   "--kv-cap", "6M", "--kv-type", "q8_0", "--recall", "--host-copies", "1G")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        first, _, last = (json.loads(line) for line in done.stdout.decode().splitlines())
        self.assertEqual(first["recalled_rows"], 0, "nothing was dropped yet")
        self.assertEqual(last["recalled_tokens"], 0)
        self.assertGreater(last["recalled_rows"], 0)
        self.assertGreater(last["kv"]["host_rows"], 0)
        self.assertGreater(last["kv"]["host_bytes"], 0)
        self.assertLessEqual(last["memory"]["kv_peak"], 6 << 20)

    def test_a_wrong_load_forgets_nothing(self):
        done = run("chat", "-m", MODEL, "-n", 4, "--json",
                   text_in=f"Hi\n/load {self.file('x', '[1]')}\n/load\n/stats\nAgain\n")
        self.assertEqual(done.returncode, 0)
        turns = [json.loads(line) for line in done.stdout.decode().splitlines()]
        self.assertGreater(turns[1]["kv"]["tokens"], turns[0]["kv"]["tokens"] + 4)
        self.assertIn("not a saved conversation", done.stderr.decode())


@needs_model
class Rollout(CliTest):
    ask = ("run", "-m", MODEL, "--raw", "-n", 8, "--temp", 0, "--kv-type", "q8_0", "--json")

    def test_observing_changes_nothing_and_says_what_it_would_cost(self):
        ask = (*self.ask, "-f", self.file("t", TEXT), "--kv-budget", "2M")
        off = self.json(*ask, "--mode", "off")
        self.assertNotIn("observed", off)
        self.assertEqual(off["kv"]["mode"], "off")
        self.assertEqual(off["kv"]["evicted_total"], 0)
        result = self.json(*ask, "--mode", "observe")
        self.assertEqual(result["text"], off["text"])
        self.assertEqual(result["kv"]["mode"], "observe")
        seen = result["observed"]
        self.has(seen, "kl_mean kl_p99 kl_max top1_agreement ppl_full ppl ppl_ratio rows_kept")
        self.assertEqual(seen["compared"], 8)  # The prompt's last token and seven generated.
        self.assertEqual(seen["tokens"], result["kv"]["tokens"] - 1)
        self.assertIsNone(seen["ended"])
        self.assertLessEqual(seen["bytes_peak"], 2 << 20)
        on = self.json(*ask)
        self.assertEqual(on["kv"]["mode"], "on")
        self.assertLessEqual(on["kv"]["bytes"], 2 << 20)
        self.assertGreater(on["kv"]["evicted_total"], 0)

    def test_a_policy_gets_the_statistics_of_queries_that_it_needs(self):
        ask = (*self.ask, "-f", self.file("t", TEXT), "--kv-budget", "2M", "--evict",
               "expected-attention")
        self.assertGreater(self.json(*ask)["kv"]["evicted_total"], 0)
        seen = self.json(*ask, "--mode", "observe")["observed"]
        self.assertGreater(seen["kl_mean"], 0)

    def test_a_canary_is_on_for_some_keys(self):
        for key, mode in (("alice@example.com", "on"), ("a", "off")):
            result = self.json(*self.ask, "-p", "Hello", "--kv-budget", "2M", "--mode", "canary",
                               "--canary", 0.4, "--key", key)
            self.assertEqual(result["kv"]["mode"], mode)
        self.fails(2, ["--key"], *self.ask, "-p", "Hello", "--mode", "canary", "--canary", 0.4)
        self.fails(2, ["--canary"], *self.ask, "-p", "Hello", "--canary", 1.4)
        self.fails(2, ["--mode"], *self.ask, "-p", "Hello", "--mode", "perhaps")
        self.fails(1, ["--kv-budget", "the smallest"], *self.ask, "-p", "Hello", "--kv-budget", 9)
        self.fails(1, ["nothing to observe"], *self.ask, "-p", "Hello", "--mode", "observe")

    def test_stats_of_an_observed_conversation(self):
        script = self.file("script", "Name three fruits.\n/stats\n")
        done = run("chat", "-m", MODEL, "--script", script, "-n", 8, "--temp", 0, "--mode",
                   "observe", "--kv-budget", "8M", "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertRegex(done.stderr.decode(), r"observed cost +KL mean 0\.0000")

    def test_eval_takes_a_budget_as_a_cap(self):
        ask = ("eval", "-m", MODEL, "-f", self.file("t", TEXT), "--tokens", 280, "--kv-type",
               "q8_0", "--chunk", 32, "--json")
        by_cap, by_budget = (self.json(*ask, option, "2M") for option in ("--kv-cap",
                                                                          "--kv-budget"))
        self.assertGreater(by_cap["kl_mean"], 0)
        self.assertAlmostEqual(by_budget["kl_mean"], by_cap["kl_mean"], delta=1e-6)


@needs_model
class Measure(CliTest):
    def test_bench(self):
        results = self.json("bench", "-m", MODEL, "-p", 32, "-n", 4, "-d", "0,64", "-r", 2,
                            "--json")
        self.assertEqual([(r["test"], r["depth"]) for r in results],
                         [("pp32", 0), ("tg4", 0), ("pp32", 64), ("tg4", 64)])
        for result in results:
            self.has(result, "test depth tok_s_median tok_s_min tok_s_max kv_bytes mem_bytes")
            self.assertLessEqual(result["tok_s_min"], result["tok_s_median"])
            self.assertLessEqual(result["tok_s_median"], result["tok_s_max"])
        table = run("bench", "-m", MODEL, "-p", 16, "-n", 0, "-d", 0, "-r", 1).stdout.decode()
        self.assertIn("pp16", table)
        self.assertNotIn("tg", table)

    def test_logits(self):
        ids = self.file("ids", "[1, 2, 3]")
        out = str(pathlib.Path(self.folder.name) / "out.f32")
        result = self.json("logits", "-m", MODEL, "--ids", ids, "--out", out, "--json")
        self.assertEqual(result, {"tokens": 3, "vocab": VOCAB})
        data = pathlib.Path(out).read_bytes()
        self.assertEqual(len(data), 3 * VOCAB * 4)
        self.assertEqual(run("logits", "-m", MODEL, "--ids", ids).stdout, data)
        values = struct.unpack(f"<{3 * VOCAB}f", data)
        self.assertTrue(all(map(math.isfinite, values)))
        self.fails(2, ["--out"], "logits", "-m", MODEL, "--ids", ids, "--json")
        self.fails(1, ["only 3"], "logits", "-m", MODEL, "--ids", ids, "--tokens", 4)

    def test_eval_of_a_full_cache_is_no_difference(self):
        result = self.json("eval", "-m", MODEL, "-f", self.file("t", TEXT), "--tokens", 200,
                           "--evict", "none", "--json")
        self.has(result, "tokens scored ppl_full ppl ppl_ratio kl_mean kl_p99 top1_agreement "
                 "rows_kept_fraction kv_bytes_full kv_bytes kv_bytes_peak")
        self.assertEqual((result["tokens"], result["scored"]), (200, 100))
        self.assertEqual(result["kv_bytes_full"], 200 * 23040)
        self.assertLess(abs(result["kl_mean"]), 1e-9)
        self.assertEqual(result["top1_agreement"], 1)
        self.assertEqual(result["rows_kept_fraction"], 1)

    def test_eval_agrees_with_the_logits(self):
        """The same figures, computed here from what `logits` writes."""
        text, count, first = self.file("t", TEXT), 48, 40
        def logits(kv_type):
            raw = run("logits", "-m", MODEL, "-f", text, "--tokens", count, "--kv-type", kv_type,
                      "--prefill-chunk", 16).stdout
            rows = memoryview(raw).cast("f", (count, VOCAB)).tolist()[first:]
            sums = [max(row) + math.log(sum(math.exp(x - max_x) for x in row))
                    for row, max_x in ((row, max(row)) for row in rows)]
            return [[x - log_sum for x in row] for row, log_sum in zip(rows, sums)]
        full, other = logits("f16"), logits("q8_0")
        kl = [sum(math.exp(f) * (f - o) for f, o in zip(*pair)) for pair in zip(full, other)]
        ids = self.json("tokenize", "-m", MODEL, "-f", text)[first + 1:count + 1]
        result = self.json("eval", "-m", MODEL, "-f", text, "--tokens", count, "--score-from",
                           first, "--kv-type", "q8_0", "--chunk", 16, "--json")
        self.assertEqual(result["scored"], count - first)
        self.assertAlmostEqual(result["kl_mean"], sum(kl) / len(kl), delta=1e-7)
        self.assertAlmostEqual(result["kl_p99"], max(kl), delta=1e-7)
        for field, rows in (("ppl_full", full), ("ppl", other)):
            mean = sum(row[i] for row, i in zip(rows, ids)) / len(ids)
            self.assertAlmostEqual(result[field] / math.exp(-mean), 1, delta=1e-6)

    def test_eval_under_a_cap(self):
        text = self.file("t", "Preface.\n" + TEXT)
        result = self.json("eval", "-m", MODEL, "-f", text, "--from", "The sea", "--tokens", 300,
                           "--score-from", 200, "--kv-cap", "2500K", "--kv-type", "q8_0",
                           "--chunk", 32, "--json")
        self.assertEqual(result["scored"], 100)
        self.assertLessEqual(result["kv_bytes_peak"], 2500 << 10)
        self.assertGreaterEqual(result["kl_mean"], 0)
        self.assertGreater(result["kl_p99"], result["kl_mean"])
        self.assertLess(result["rows_kept_fraction"], 1)
        self.fails(1, ["--from"], "eval", "-m", MODEL, "-f", text, "--from", "not in there")
        self.fails(2, ["--score-from"], "eval", "-m", MODEL, "-f", text, "--score-from", 99999)


    def test_tune_writes_what_the_engine_reads(self):
        text, out = self.file("t", TEXT * 4), str(pathlib.Path(self.folder.name) / "tuning.json")
        ask = ("tune", "-m", MODEL, "-f", text, "--tokens", 320, "--stretches", 1, "--budgets", 50,
               "--evaluations", 3, "--seed", 5, "--out", out, "--json")
        file = self.json(*ask)
        self.assertEqual(json.loads(pathlib.Path(out).read_text()), file)
        self.has(file, "format fingerprint model version date measured beats_untuned held_out "
                 "policy row_losses")
        self.assertEqual(file["measured"]["evaluations"], 3)
        self.assertEqual("head_weights" in file, file["beats_untuned"])
        low, high = file["held_out"]["change_interval"]
        self.assertEqual(file["beats_untuned"], high < 0)
        self.assertLessEqual(low, high)
        losses = {(x["kv_type"], x["fraction"]): x["kl"] for x in file["row_losses"]}
        self.assertAlmostEqual(losses["f16", 1], 0, delta=1e-9)
        self.assertLess(losses["q8_0", 1], losses["q4_0", 1])
        plan = self.json("inspect", "-m", MODEL, "--tuning", out, "--kv-type", "auto", "--kv-cap",
                         8192 * 23040 * 51 // 100, "--json")["plan"]
        self.assertEqual(plan["tuning"]["path"], out)
        self.assertEqual(plan["tuning"]["beats_untuned"], file["beats_untuned"])
        self.assertEqual(plan["tuning"]["row_losses"], len(losses))
        self.assertEqual(plan["kv_type"], min((kl, t) for (t, f), kl in losses.items()
                                              if f == 0.5)[1])
        self.fails(1, ["too short"], "tune", "-m", MODEL, "-f", text, "--tokens", 100000)
        self.fails(2, ["--budgets"], "tune", "-m", MODEL, "-f", text, "--budgets", "25,100")

    def test_tuning_that_does_not_fit_is_refused_by_name(self):
        wrong = self.file("wrong.json", "{}")
        self.fails(1, [wrong, "format"], "run", "-m", MODEL, "-p", "Hi", "--tuning", wrong)
        described = self.json("inspect", "-m", MODEL, "--tuning", "auto", "--json")
        self.assertIsNone(described["plan"]["tuning"])


@needs_model
class Example(CliTest):
    def test_conversation(self):
        done = subprocess.run([CONVERSATION, MODEL, str(6 << 20)], capture_output=True, timeout=300,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        out = done.stdout.decode()
        self.assertIn("> And what do bees do in winter?", out)
        self.assertEqual(out.count("uncapped they would take"), 4)

    def test_errors(self):
        done = subprocess.run([CONVERSATION, "/nowhere"], capture_output=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("NOT_FOUND", done.stderr.decode())


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
