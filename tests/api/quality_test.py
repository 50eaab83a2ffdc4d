"""tools/evaluate: the statistics alone, then a tiny run whose figures must mean what they say.

    quality_test.py LIBRARY CORMORANT    libcormorant.so and the executable; 77 without numpy or
                                         matplotlib, which tools/evaluate fetches into .cache/python

Method: the bootstrap against closed forms; cases and their tokens against what they promise; a run
of two tasks, compared with a part of it run again, with `cormorant eval` and with what is known of
a full cache. Ways past the context differ there alone. The model is CORMORANT_TEST_MODEL, without
which the runs are skipped. The text is the test's own.
"""
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tools/quality"), str(ROOT / ".cache/python")]
os.environ["OPENBLAS_NUM_THREADS"] = "1"
try:
    import matplotlib  # pylint: disable=unused-import
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import book
import cases
import evaluate
import intervals
import laboratory
import results
import returns
import runtime
import tasks
from configuration import Configuration
from intervals import Clusters

LIBRARY, CLI = pathlib.Path(sys.argv[1]), sys.argv[2]
MODEL = os.environ.get("CORMORANT_TEST_MODEL")
TOKENS = 384  # Of the book's part.
needs_model = unittest.skipUnless(MODEL, "CORMORANT_TEST_MODEL names no model")

WHO = ("The old captain", "A young sailor", "My neighbour", "The carpenter", "Nobody at home")
DID = ("looked at", "spoke of", "remembered", "painted", "walked slowly towards", "dreamt about")
WHAT = ("the quiet harbour", "a broken lantern", "the last winter", "three grey horses", "the sea")
WHEN = ("before the rain began", "when the bells were ringing", "for the rest of the day",
        "as if it were the first time", "and then went home without a word")


def own_text() -> str:
    """A text of some thousand tokens: made-up prose, then the licence, where the book part is."""
    rng = random.Random(3)
    paragraphs = [" ".join(f"{rng.choice(WHO)} {rng.choice(DID)} {rng.choice(WHAT)} "
                           f"{rng.choice(WHEN)}." for _ in range(8)) for _ in range(18)]
    return "\n\n".join([*paragraphs, (ROOT / "LICENSE").read_text()])


class Workers(unittest.TestCase):
    def test_they_end_with_a_process_that_is_killed(self):
        script = ("import os, sys, time\n"
                  f"sys.path.insert(0, {str(ROOT / 'tools/quality')!r})\n"
                  "import workers\n"
                  "if __name__ == '__main__':\n"
                  "    pool = workers.pool(1)\n"
                  "    print(pool.submit(os.getpid).result(), flush=True)\n"
                  "    pool.submit(time.sleep, 600).result()\n")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "parent.py"
            path.write_text(script)
            with subprocess.Popen([sys.executable, "-B", path], stdout=subprocess.PIPE) as parent:
                worker = int(parent.stdout.readline())
                parent.kill()
        for _ in range(600):
            if not pathlib.Path(f"/proc/{worker}").exists():
                return
            time.sleep(0.1)
        self.fail(f"process {worker} goes on")


class Statistics(unittest.TestCase):
    def test_interval_of_a_mean_is_the_normal_one(self):
        values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
        clusters = Clusters.of([[value] for value in values])
        found = intervals.describe(clusters, None, intervals.resamples(400, 1, "a"))
        error = 1.96 * values.std() / math.sqrt(len(values))  # n, not n - 1.
        self.assertAlmostEqual(found["mean"], values.mean(), places=12)
        self.assertAlmostEqual(found["interval"][0], values.mean() - error, delta=0.1 * error)
        self.assertAlmostEqual(found["interval"][1], values.mean() + error, delta=0.1 * error)

    def test_pairs_stay_pairs(self):
        noise = np.random.default_rng(2).normal(0, 100, size=50)
        reference = Clusters.of([[value] for value in noise + 1000])
        other = Clusters.of([[value + 5] for value in noise + 1000])
        found = intervals.describe(other, reference, intervals.resamples(50, 1, "a"))
        self.assertAlmostEqual(found["difference"], 5)
        np.testing.assert_allclose(found["difference_interval"], [5, 5], atol=1e-9)
        self.assertTrue(found["ratio_interval"][0] <= found["ratio"] <= found["ratio_interval"][1])

    def test_what_depends_on_each_other_is_resampled_together(self):
        values = np.repeat(np.random.default_rng(3).normal(size=20), 50)
        together = intervals.describe(Clusters.of(values.reshape(20, 50)), None,
                                      intervals.resamples(20, 1, "a"))["interval"]
        apart = intervals.describe(Clusters.of(values.reshape(1000, 1)), None,
                                   intervals.resamples(1000, 1, "a"))["interval"]
        self.assertGreater(together[1] - together[0], 5 * (apart[1] - apart[0]))

    def test_clusters_weigh_by_their_counts(self):
        self.assertAlmostEqual(Clusters.of([[1, 1, 1], [0]]).mean, 0.75)

    def test_a_ratio_without_meaning_is_none(self):
        nothing = Clusters.of([[0.0], [0.0]])
        found = intervals.describe(nothing, nothing, intervals.resamples(2, 1, "a"))
        self.assertIsNone(found["ratio"])
        self.assertIsNone(found["ratio_interval"])

    def test_percentile(self):
        values = np.arange(1.0, 201.0)
        found = intervals.describe_percentile(values, 99, 10, intervals.resamples(20, 1, "a"))
        self.assertEqual(found["mean"], 198)  # As `cormorant eval`: the rank is rounded up.
        self.assertTrue(found["interval"][0] <= 198 <= found["interval"][1])

    def test_same_seed_same_resamples(self):
        first, same, other = (intervals.resamples(9, seed, "x") for seed in (4, 4, 5))
        np.testing.assert_array_equal(first, same)
        self.assertFalse((first == other).all())


class Divergence(unittest.TestCase):
    def test_against_the_definition(self):
        rng = np.random.default_rng(5)
        full, other = rng.normal(0, 3, size=(2, 4, 1000)).astype(np.float32)
        comparison = book.Comparison(full, np.array([3, 1, 4]))
        for index in range(4):
            comparison.add(index, other[index])
        log_p, log_q = (x - np.log(np.exp(x.astype(np.float64)).sum(axis=1, keepdims=True))
                        for x in (full.astype(np.float64), other.astype(np.float64)))
        np.testing.assert_allclose(comparison.kl, (np.exp(log_p) * (log_p - log_q)).sum(axis=1),
                                   rtol=1e-5)
        np.testing.assert_allclose(comparison.delta_nll[:3], (log_p - log_q)[range(3), [3, 1, 4]],
                                   rtol=1e-4, atol=1e-6)
        self.assertTrue(np.isnan(comparison.delta_nll[3]))

    def test_a_gate_counts_what_comes_late(self):
        answer = {"correct": True, "exact": True, "logprob": -1.0, "rank": 1, "label": ""}
        early = {**answer, "correct": False, "label": results.BEFORE}
        gate = results.gate_of([{"answers": [early, answer]}])
        self.assertEqual((gate["accuracy"], gate["questions"], gate["shown"]), (1.0, 1, True))


class Laboratory(unittest.TestCase):
    def test_where_nothing_is_dropped_all_policies_are_one(self):
        plan = laboratory.Plan(None, None, None, (), ("corm", "window"), (100.0, 25.0), ("q8_0",),
                               (), 0, 0, 1)
        run = []

        def record(configuration):
            run.append(configuration)
            return {"of": configuration, "evicted": 0 if configuration.budget != 25 else 7}

        records = laboratory.each(plan, record)
        self.assertEqual(len(records), len(plan.configurations()))
        self.assertEqual([c.policy for c in run if c.budget == 100], ["corm"])
        self.assertEqual([c.policy for c in run if c.budget == 25], ["corm", "window"])

    def test_a_reference_may_have_rows_of_its_own(self):
        def records(kl):
            return [{"task": "book", "case": 0, "kl": np.full(128, kl), "delta_nll": np.zeros(128),
                     "same_first": np.ones(128), "cap": 1, "peak": 1, "full": 2, "rows_kept": 0.5,
                     "evicted": 3, "tokens": 256, "chunk": 32}]

        ran = {Configuration("f16", 0, "none"): records(0.0),
               Configuration("q8_0", 25, "corm"): records(0.1),
               Configuration("f16", 25, "h2o"): records(0.4),
               Configuration("f16", 25, "corm"): records(0.2)}
        for reference, ratio in (("corm", 2), ("corm@q8_0", 4)):
            found = results.gather(ran, ["book"], reference, 1)["results"]
            own = next(r for r in found if r["policy"] == "h2o")
            self.assertAlmostEqual(own["metrics"]["kl"]["ratio"], ratio)

    def test_returns_are_what_only_the_full_cache_answers(self):
        def turn(value, full, corm, divergence):
            way = {"divergence": divergence, "told": divergence >= 0.1, "dropped": True}
            return {"value": value, "none": {"right": full}, "corm": {"right": corm},
                    "corm+compared": {**way, "right": True}}

        said = returns.report([turn("1", True, False, 0.9), turn("2", True, False, 0.05),
                               turn("3", True, True, 0.0), turn("", False, False, 0.2),
                               turn("", False, False, 0.01)])
        self.assertIn("rightly: 3; returns of these: 2; other turns: 2", said)
        self.assertIn("AUROC: 0.750", said)
        self.assertIn("told, by the library: 1 of 2 (50.0 %); falsely: 1 of 2 (50.0 %)", said)
        self.assertIn("corm: 1 of 3", said)


class Cases(unittest.TestCase):
    def make(self, task, index=0, seed=1, tokens=900):
        return tasks.make_case(task, index, seed=seed, tokens=tokens,
                               text=cases.sentences(own_text()))

    def test_the_same_seed_makes_the_same_cases(self):
        for task in tasks.TASKS:
            self.assertEqual(self.make(task), self.make(task))
            self.assertNotEqual(self.make(task), self.make(task, index=1))
            self.assertNotEqual(self.make(task), self.make(task, seed=2))

    def test_answers_are_said_before_and_questions_are_not(self):
        for task in tasks.TASKS:
            said = ""
            for step in self.make(task).steps:
                if isinstance(step, cases.Ask):
                    self.assertIn(step.answer.strip(), said, task)
                    self.assertNotIn(step.text, said, task)
                    if step.label != tasks.SAME and task != "re-asked":
                        self.assertNotIn(step.answer, step.text, task)
                else:
                    said += f" {step.text}"

    def test_paraphrases_use_other_words(self):
        for said, question, prefix, _ in tasks.words.PARAPHRASES:
            common = set(said.lower().split()) & set(question.lower().strip("?").split())
            self.assertLessEqual(common, {"the", "is", "color", "in"}, (said, question, prefix))

    @needs_model
    def test_tokens_of_a_case_are_those_of_its_whole_text(self):
        tokenizer = runtime.Tokenizer(runtime.Library(LIBRARY), pathlib.Path(MODEL))
        chat = cases.Chat(tokenizer)
        for task in tasks.TASKS:
            case = self.make(task)
            pieces = chat.pieces(case)
            messages = []
            for step in case.steps:
                if isinstance(step, cases.Say):
                    messages.append({"role": step.role, "content": step.text})
                else:
                    messages += [{"role": "user", "content": step.text},
                                 {"role": "assistant",
                                  "content": step.prefix + step.answer + step.rest}]
            text = "".join(tokenizer.decode(piece.ids) for piece in pieces)
            self.assertEqual(text, tokenizer.render(messages, False), task)
            self.assertTrue(pieces[0].pin and not any(piece.pin for piece in pieces[1:]), task)
            count = sum(len(piece.ids) for piece in pieces)
            self.assertTrue(500 < count < 1500, f"{task} has {count} tokens")


@needs_model
class Run(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.holder.name)
        cls.text = cls.folder / "text.txt"
        cls.text.write_text(own_text())
        cls.first = cls.evaluate("first", "--tasks", "book,passkey", "--rows", "f16,q8_0")

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    @classmethod
    def evaluate(cls, name, *options):
        out = cls.folder / name
        status = evaluate.main([
            "--model", MODEL, "--library", str(LIBRARY), "--text", str(cls.text), "--out", str(out),
            "--policies", "corm,window", "--budgets", "50", "--cases", "1", "--case-tokens", "400",
            "--parts", "1", "--part-tokens", str(TOKENS), "--jobs", "2", *options])
        assert status == 0
        return json.loads((out / "result.json").read_text())

    def result(self, task, rows, budget, policy):
        return next(r for r in self.first["results"] if (
            r["task"], r["rows"], r["budget"], r["policy"]) == (task, rows, budget, policy))

    def test_the_same_seed_gives_the_same_result_whatever_else_is_run(self):
        again = self.evaluate("again", "--tasks", "passkey", "--rows", "q8_0")
        self.assertEqual(again["gates"]["passkey"], self.first["gates"]["passkey"])
        self.assertEqual(len(again["results"]), 4)  # Two without a cap: f16 rows are the reference.
        for found in again["results"]:
            self.assertEqual(found, self.result("passkey", found["rows"], found["budget"],
                                                found["policy"]))

    def test_the_same_result_gives_the_same_files(self):
        names = ("quality-f16.svg", "quality-q8_0.svg", "report.md", "result.json")
        evaluate.write(json.loads((self.folder / "first/result.json").read_text()),
                       self.folder / "copy")
        for name in names:
            self.assertEqual((self.folder / "first" / name).read_bytes(),
                             (self.folder / "copy" / name).read_bytes(), name)

    def test_the_full_cache_differs_by_nothing(self):
        metrics = self.result("book", "f16", 0, "none")["metrics"]
        self.assertLess(abs(metrics["kl"]["mean"]), 1e-6)
        self.assertEqual(metrics["top1"]["mean"], 1)

    def test_a_budget_costs_a_little_and_is_kept(self):
        for rows in ("f16", "q8_0"):
            for policy in ("corm", "window"):
                found = self.result("book", rows, 50, policy)
                self.assertTrue(0 < found["metrics"]["kl"]["mean"] < 0.5, found)
                self.assertTrue(0.3 < found["peak_share"] <= 0.5, found)
        self.assertGreater(self.result("book", "f16", 50, "corm")["evicted"], 0)

    def test_a_recall_finds_what_was_dropped(self):
        found = self.evaluate("recall", "--tasks", "passkey", "--rows", "q8_0", "--policies",
                              "window,corm,corm+recall,corm+copies", "--budgets", "25",
                              "--cases", "2", "--case-tokens", "1000")
        right = {r["policy"]: r["metrics"]["accuracy"]["mean"] for r in found["results"]
                 if r["budget"]}
        for way in ("corm+recall", "corm+copies"):  # Of six questions, one is a sixth.
            self.assertGreater(right[way], right["corm"] + 0.2, right)
        self.assertLess(right["window"], 1, right)
        self.assertLess(right["corm"], 1, right)

    def test_a_policy_gets_the_statistics_of_queries_that_it_needs(self):
        found = self.evaluate("queries", "--tasks", "passkey", "--rows", "q8_0", "--policies",
                              "expected-attention", "--budgets", "25")
        self.assertGreater(max(r["evicted"] for r in found["results"]), 0)

    def test_intervals_contain_their_means(self):
        for found in self.first["results"]:
            for metric in found["metrics"].values():
                for name, bounds in (("mean", "interval"), ("difference", "difference_interval")):
                    if metric.get(bounds):
                        low, high = metric[bounds]
                        self.assertTrue(low - 1e-12 <= metric[name] <= high + 1e-12, metric)

    def test_as_cormorant_eval_says(self):
        tokenizer = runtime.Tokenizer(runtime.Library(LIBRARY), pathlib.Path(MODEL))
        ids = tokenizer.encode(own_text(), runtime.ENCODE_BOS)
        ids = book.part_of_text(ids, 0, 1, TOKENS)
        path = self.folder / "ids.json"
        path.write_text(json.dumps(ids.tolist()))
        mine = self.result("book", "q8_0", 50, "corm")
        cap = Configuration("q8_0", 50, "corm").cap(TOKENS, self.first["model"]["bytes_per_token"])
        said = json.loads(subprocess.run(
            [CLI, "eval", "-m", MODEL, "--ids", path, "--tokens", str(TOKENS), "--score-from",
             str(TOKENS // 2), "--kv-cap", str(cap), "--kv-type", "q8_0", "--evict", "corm",
             "--json", "--backend", "cpu", "--chunk", str(mine["chunk"])],
            capture_output=True, text=True, check=True).stdout)
        metrics = mine["metrics"]
        self.assertAlmostEqual(metrics["kl"]["mean"], said["kl_mean"], delta=1e-6)
        self.assertAlmostEqual(metrics["kl_p99"]["mean"], said["kl_p99"], delta=1e-5)
        self.assertAlmostEqual(metrics["top1"]["mean"], said["top1_agreement"])
        self.assertAlmostEqual(math.exp(metrics["delta_nll"]["mean"]), said["ppl_ratio"],
                               delta=1e-5)
        self.assertAlmostEqual(mine["peak_share"], said["kv_bytes_peak"] / said["kv_bytes_full"])

    def test_the_report_has_everything(self):
        report = (self.folder / "first/report.md").read_text()
        for text in ("## Gates", "## q8_0 rows", "### Book, f16 rows", "KL mean", "| window |",
                     self.first["model"]["sha256"][:12], self.first["commit"], "seed 1"):
            self.assertIn(text, report)
        self.assertNotIn(str(self.folder), report)

    def test_wrong_words_are_named(self):
        with self.assertRaises(SystemExit):
            evaluate.parse_arguments(["--model", MODEL, "--tasks", "nothing"])
        with self.assertRaises(SystemExit):
            evaluate.parse_arguments(["--model", MODEL, "--budgets", "0"])


@needs_model
class PastTheContext(unittest.TestCase):
    def test_ways_differ_past_the_context_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            text, figures = pathlib.Path(folder, "text"), pathlib.Path(folder, "figures")
            text.write_text(own_text())
            done = subprocess.run(
                [sys.executable, ROOT / "tools/quality/positions.py", "--library", LIBRARY,
                 "--model", MODEL, "--text", text, "--context", "256", "--caps", "4000000",
                 "--at", "600,250", "--scored", "64", "--json", figures],
                capture_output=True, text=True, check=True,
                env={**os.environ, "PYTHONPATH": str(ROOT / ".cache/python")})
            found = json.loads(figures.read_text())
        by = {(f["way"], f["at"]): f for f in found["figures"]}
        for way in ("windowed", "original"):
            self.assertEqual(by[way, 250]["ratio"], 1)
            self.assertNotEqual(by[way, 600]["ratio"], 1)
            low, high = by[way, 600]["ratio_interval"]
            self.assertTrue(low <= by[way, 600]["ratio"] <= high)
        moved = {run["way"]: run["moved"] for run in found["runs"]}
        self.assertEqual(moved["original"], 0)
        self.assertGreater(moved["windowed"], moved["rebased"])
        self.assertGreater(moved["rebased"], 0)
        for run in found["runs"]:
            nll = run["nll"]["600"]
            self.assertEqual(len(nll), 64)
            self.assertAlmostEqual(by[run["way"], 600]["perplexity"],
                                   math.exp(sum(nll) / len(nll)), delta=1e-6)
        self.assertEqual(len(done.stdout.splitlines()), 2 + 6)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
