"""Every table of measured numbers and every marked paragraph agrees with docs/results, which commands wrote."""

import json
import math
import re
import sys

import numpy as np
import pytest

from benchmarks import coverage, divergence, numbers, recommendations, table_makers, tables
from benchmarks.results import results
from metalearn.intervals import error_of_mean
from metalearn.reproductions import Result, row

TEXTS = {path.name: path.read_text() for path in tables.DOCUMENTS}
MARKED = {name: document for document, text in TEXTS.items() for _, name, _ in tables.PLACE.findall(text)}


@pytest.mark.parametrize("document", TEXTS)
def test_a_document_contains_the_numbers_that_its_commands_wrote_last(document):
    assert tables.filled(TEXTS[document]) == TEXTS[document], "python -m benchmarks.tables makes its tables again"
    assert TEXTS[document].count("<!-- table:") == len(tables.PLACE.findall(TEXTS[document])), "a marker is misspelt"


def test_every_table_is_in_one_document_and_every_file_of_results_in_a_table():
    assert sorted(MARKED) == sorted(tables.TABLES)
    assert sum(text.count("<!-- table:") for text in TEXTS.values()) == len(tables.TABLES)
    files = {file for file, _ in tables.TABLES.values() if file}
    assert files == {*tables.SUBJECT, "recorded"} >= {path.stem for path in tables.RESULTS.iterdir()}
    assert sorted(row["table"] for row in results("recorded")) == sorted(tables.RECORDED)


WORDS = (  # the heads of tables that nothing measures
    "| name | paper | file | unbiased for | needs gradients |",
    "| wrapper | meta-loss | differentiable |",
    "| | here |",
    "| target | here |",
    "| | |",
    "| estimator | c_t | v_t |",
    "| set | D | |",
    "| map | λ per step | |",
    "| method | result |",
    "| field of `ml.Study` | meaning | default |",
    "| experiment | requires | use of the problem |",
    "| problems | not available for |",
    "| data | inputs | targets | outputs of the network |",
    "| optimiser | inner | outer |",
    "| claim | gradient | methods |",
    "| wrapper | meta-loss | differentiable |",
    "| problem | finds |",
    "| layer | what is shown |",
    "| function | network | data | parameters |",  # compared in tests/inner/test_network_benchmarks.py
)


@pytest.mark.parametrize("document", TEXTS)
def test_a_handwritten_table_contains_no_measured_numbers(document):
    by_hand = numbers.PARAGRAPH.sub("", tables.PLACE.sub("", TEXTS[document]))
    heads = re.findall(r"^(\|.*\|)\n\|[-|: ]+\|$", by_hand, re.MULTILINE)
    assert not set(heads) - set(WORDS), "make it from docs/results (benchmarks/tables.py)"


@pytest.mark.parametrize("document", TEXTS)
def test_a_marked_paragraph_contains_the_numbers_of_the_results(document):
    assert numbers.missing(TEXTS[document]) == []
    marked = [name for name, _ in numbers.PARAGRAPH.findall(TEXTS[document])]
    assert len(marked) == TEXTS[document].count("<!-- numbers:"), "a marker is misspelt"


def test_every_function_of_numbers_has_a_paragraph_and_detects_a_change():
    paragraphs = [found for text in TEXTS.values() for found in numbers.PARAGRAPH.findall(text)]
    assert sorted(name for name, _ in paragraphs) == sorted(numbers.NUMBERS)
    for name, paragraph in paragraphs:
        for words in numbers.NUMBERS[name]():
            digit = re.search(r"\d", words)
            assert digit is not None
            changed = words[: digit.start()] + str((int(digit[0]) + 1) % 10) + words[digit.end() :]
            text = re.sub(r"\s+", " ", paragraph).replace(words, changed)
            assert (name, words) in numbers.missing(f"<!-- numbers: {name} -->\n{text}\n\n{paragraph}")


def test_a_table_without_results_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.filled("<!-- table: learned -->\n\n| 3 |\n\n<!-- end of table -->").split("\n\n")[1] == "Not run yet."


WRITTEN = [name for name, (file, _) in tables.TABLES.items() if not file or (tables.RESULTS / f"{file}.json").exists()]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_number_changed_by_hand_is_detected(name):
    text = TEXTS[MARKED[name]]
    place = next(match for match in tables.PLACE.finditer(text) if match[2] == name)
    digit = [match for match in re.finditer(r"\d", text[: place.end()]) if match.start() > place.start()][-1]
    changed = text[: digit.start()] + str((int(digit[0]) + 1) % 10) + text[digit.end() :]
    assert tables.filled(changed) == text != changed


def test_rows_of_the_same_subject_are_replaced_and_others_stay(tmp_path):
    rows = [row(Result(f"e{n}", "q", -np.inf, 2.0, (1.0 + n,), 3.0, "no number found")) for n in range(2)]
    written, kept = tmp_path / "run" / "reproductions.json", tmp_path / "reproductions.json"
    written.parent.mkdir()
    tables.write(written, rows)
    tables.take_over(written, tmp_path)
    assert tables.read(kept) == rows
    again = [rows[1] | {"mean": 7.0}, rows[0] | {"experiment": "new"}]
    tables.write(written, again)
    tables.take_over(written, tmp_path)
    assert tables.read(kept) == [rows[0], *again]
    with pytest.raises(ValueError, match=r"must be named divergence\.json, .* was given"):
        tables.take_over(tmp_path / "results.json", tmp_path)


def test_the_benchmark_of_divergence_writes_what_its_table_reads(monkeypatch, tmp_path):
    places = {"quartic": np.float32(-1.5)}
    monkeypatch.setattr(divergence, "descend", lambda name, *_: places.get(name, np.zeros(2)))
    monkeypatch.setattr(divergence, "judge", lambda name, theta: (0.0123, 0.25))
    monkeypatch.setattr(sys, "argv", ["divergence", "--seeds", "2", "--into", str(tmp_path)])
    divergence.main()
    table = tables.divergence(tables.read(tmp_path / "divergence.json"))
    assert len(table.splitlines()) == 2 + len(divergence.TREATMENTS)
    assert "| cap 1 | -1.50, 1.23 %, 0.2500 ± 0.0000 | 0.2500 ± 0.0000 | 0.2500 ± 0.0000 |" in table
    json.loads((tmp_path / "divergence.json").read_text(), parse_constant=pytest.fail)


def test_a_recommendation_is_a_hit_within_a_tenth_of_the_gain_or_two_errors():
    losses = {
        "best": np.array([0.0, 0.0]),
        "within a tenth": np.array([0.1, 0.1]),
        "beyond": np.array([0.11, 0.11]),
        "noisy": np.array([0.0, 0.4]),
    }
    hits, means = recommendations.find_hits(1.0, losses)
    assert hits == {"best": True, "within a tenth": True, "beyond": False, "noisy": True, "none of them": False}
    assert means["none of them"] == 1.0
    assert recommendations.find_hits(-0.01, losses)[0]["none of them"], "to stay is right where every descent climbs"


def test_counts_of_recommendations_become_a_table_with_intervals():
    point = {
        "problem": "one",
        "recommended": "NRES",
        "hit": True,
        "hits": {"NRES": True, "PES": False, "none of them": False},
    }
    other = {"problem": "one", "recommended": "none of them", "hit": False}
    other["hits"] = {"NRES": True, "PES": True, "none of them": False}
    row = recommendations.count_hits([point] * 9 + [other])
    assert (row["points that matter"], row["hits that matter"]) == (9, 9)
    table = table_makers.recommendations([row, row | {"problem": "two"}]).splitlines()
    assert table[2] == "| one | 9 of 10 (60 to 98 %) | 100 % | 10 % | 1 |"
    assert table[-1].startswith("| all | 18 of 20 (")


def test_the_benchmark_of_coverage_writes_what_its_table_reads(monkeypatch, tmp_path):
    values, errors = np.repeat([0.0, 1.5, 3.0, 9.0], 50), np.ones(200)
    monkeypatch.setattr(coverage, "measurements", lambda only: [("roughness", "a cut", values, errors, 0.0)])
    monkeypatch.setattr(sys, "argv", ["coverage", "--into", str(tmp_path)])
    for _ in range(2):  # the second run replaces the row of the first
        coverage.main()
    rows = tables.read(tmp_path / "coverage.json")
    assert table_makers.coverage(rows).splitlines()[2:] == ["| roughness | a cut | 25 % | 50 % | +3.3750 | 1.0000 |"]
    tables.take_over(tmp_path / "coverage.json", tmp_path)


def judged_row(optimizer, loss, speed, low, high, rate=math.nan, error=0.003):
    return {
        "tuning": "learned_optimizer", "benchmark": "digits", "optimizer": optimizer, "learning_rate": rate, "mean_loss": loss,
        "mean_loss_error": error, "speed_up": speed, "speed_up_low": low, "speed_up_high": high,
    }  # fmt: skip


def test_meta_seeds_are_one_line_with_an_interval_for_every_speed_up():
    rows = [
        judged_row("SGD, linear", 0.5, math.nan, math.nan, math.nan, rate=0.1),
        judged_row("Adam, linear", 0.2, 1.0, 1.0, 1.0, rate=0.05),
        *(judged_row(f"NRES {seed}", 0.1 + 0.01 * seed, 2.0, 1.6, 2.5) for seed in range(3)),
        *(judged_row(f"CMA-ES {seed}", 0.1, 2.0 if seed else math.nan, 1.0, 4.0) for seed in range(5)),
        judged_row("random search", 0.1, 2.0, 0.0, 4.0),
    ]
    lines = table_makers.learned(rows).splitlines()[2:]
    between = error_of_mean([0.1, 0.11, 0.12])
    assert lines == [
        "| digits | Adam, linear | – | 0.2000 ± 0.0030 | 1.00 |",
        f"| digits | NRES | 3 | 0.1100 ± {math.hypot(between, 0.003):.4f} | 2.00 (1.60 … 2.50) |",
        "| digits | CMA-ES | 5 | 0.1000 ± 0.0030 | not reached by 1 of 5 |",
        "| digits | random search | 1 | 0.1000 ± 0.0030 | 2.00 (not reached … 4.00) |",
    ]


def test_an_interval_over_meta_seeds_covers_what_judging_seeds_have_in_common():
    random, inside = np.random.default_rng(0), []
    for _ in range(400):
        common, judges = random.normal(scale=0.8), 16
        meta = 1.0 + random.normal(size=5)
        found = meta + common + random.normal(scale=0.1, size=5)
        errors = 0.8 * np.sqrt(random.chisquare(judges - 1, size=5) / (judges - 1))
        inside.append(abs(np.mean(found) - 1.0) < table_makers.spread(found, errors))
    assert 0.6 < np.mean(inside) < 0.8, np.mean(inside)
