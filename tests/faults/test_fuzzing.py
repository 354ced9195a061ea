"""Random values for every entry of every configuration: a run starts, or a one-line error says what is wrong.

Hypothesis draws the same cases every time. METALEARN_CASES=2000 draws more; `make faults` does.
"""

import importlib.util
import os
import signal
from typing import Any

import hypothesis
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from metalearn.application import runs, tune_problem
from metalearn.application.arguments import check_read
from metalearn.application.mistakes import sentence
from metalearn.application.value_types import check_kinds
from metalearn.usage import CONFIGS
from tests.processes import ROOT

CASES = int(os.environ.get("METALEARN_CASES", "150"))
LONGEST = 10  # seconds until a run starts or raises an error
EXPERIMENTS = {  # name -> configuration and groups: small problems, which are quick to build
    "compare": ("compare", ["problem=phase_walk", "estimator=[full_es,persistent_es,guided_es]"]),
    "landscape": ("landscape", ["problem=lorenz"]),
    "zoom": ("zoom", []),
    "gallery": ("gallery", []),
    "meta_train": ("meta_train_problem", ["problem=ridge_regression", "searches=[random_search]"]),
    "performative": ("performative", []),
    "reproduce": ("reproduce", []),
}
VALUES = [
    *("-1", "0", "1", "2", "3", "01", "1000000000000", "0.5", "-0.5", "1e-300", "1e300", ".nan", ".inf", "-.inf"),
    *("true", "false", "null", "abc", "''", "'two words'", "ü", "[]", "[1]", "[a,b]", "[[1,2],[3]]", "{}", "{a: 1}"),
]


class Begun(BaseException):
    """Raised where the run would start."""


class Slow(BaseException):
    """Raised if a case takes too long."""


def load(name):
    """Return the function of an experiment, whose errors count as metalearn's own."""
    spec = importlib.util.spec_from_file_location(f"metalearn.fuzzed_{name}", ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def paths(config, place=""):
    """Yield the path of every entry, including groups of entries."""
    for key in config:
        path = f"{place}{key}"
        yield path
        plain: Any = OmegaConf.to_container(config, resolve=False)
        inside = plain[key]
        if isinstance(inside, dict):
            yield from paths(OmegaConf.create(inside), f"{path}.")


@pytest.fixture(scope="module")
def composed():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return {name: compose(config, words) for name, (config, words) in EXPERIMENTS.items()}


@pytest.fixture(scope="module")
def mains():
    return {name: tune_problem if name == "meta_train" else load(name) for name in EXPERIMENTS}


def outcome(name, config_name, base, main, words):
    """Return "begun" or the sentence of a command line; raise any other error."""
    config: DictConfig = base.copy()
    try:
        for word in words:
            override = OverridesParser.create().parse_override(word)
            value = override.value()
            OmegaConf.update(config, override.key_or_group, value, merge=True, force_add=False)
        check_read(config, CONFIGS, config_name)
        check_kinds(config, OmegaConf.to_container(base, resolve=False))
        main(config)
    except Begun:
        return "begun"
    except Exception as error:
        said = sentence(error)
        if said is None:
            raise
        return said
    raise AssertionError(f"{name} ended without a run")


def tell_slow(number, frame):
    raise Slow


CASE = st.sampled_from(sorted(EXPERIMENTS)).flatmap(
    lambda name: st.tuples(
        st.just(name), st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(VALUES)), min_size=1, max_size=2)
    )
)


def test_every_random_configuration_starts_a_run_or_gives_a_one_line_error(composed, mains, monkeypatch):
    def begin(*_, **__):
        raise Begun

    monkeypatch.setattr(runs, "open_run", begin)
    monkeypatch.setattr(runs, "output_folder", lambda: "runs")
    entries = {name: list(paths(config)) for name, config in composed.items()}
    said, bad = [], []

    @hypothesis.settings(
        max_examples=CASES, deadline=None, database=None, derandomize=True, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(CASE)
    def check(case):
        name, chosen = case
        words = [f"{entries[name][place % len(entries[name])]}={value}" for place, value in chosen]
        before = signal.signal(signal.SIGALRM, tell_slow)
        signal.alarm(LONGEST)
        try:
            said.append(outcome(name, EXPERIMENTS[name][0], composed[name], mains[name], words))
        except (Exception, Slow) as error:
            bad.append((name, words, repr(error)[:300]))
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)

    check()
    begun = said.count("begun")
    print(
        f"{len(said) + len(bad)} cases: {begun} begin, {len(said) - begun} are refused in a sentence, {len(bad)} do neither"
    )
    assert not bad, "\n".join(map(str, bad))
    assert len(said) >= 0.9 * CASES
    assert 0.02 * len(said) < begun < 0.9 * len(said)
    assert all(one and "\n" not in one and len(one) < 1200 for one in said)


def test_the_unchanged_configurations_start_a_run(composed, mains, monkeypatch):
    def begin(*_, **__):
        raise Begun

    monkeypatch.setattr(runs, "open_run", begin)
    monkeypatch.setattr(runs, "output_folder", lambda: "runs")
    for name, (config, _) in EXPERIMENTS.items():
        assert outcome(name, config, composed[name], mains[name], []) == "begun", name
