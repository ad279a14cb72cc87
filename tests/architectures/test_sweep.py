"""Every causal class of transformers: what pairkit makes of it is what docs/models.md tells."""

from __future__ import annotations

from pathlib import Path

import models
import pytest
import transformers
from support.sweep import Sweep, results, version
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

# One of each kind; the others repeat a kind. Dense, windows and softcaps, experts, experts
# that are sampled, latent, indexed and recurrent layers, a class that ignores `logits_to_keep`, positions of
# its own, ALiBi, and those that are refused.
QUICK = {
    "llama", "gemma3", "gpt_oss", "phimoe", "deepseek_v32", "rwkv",
    "trocr", "opt", "bloom", "bert", "bert is_decoder=true", "cpmant",
}  # fmt: skip
STORED = results()
pinned = pytest.mark.skipif(
    transformers.__version__ != version(), reason=f"the stored results are those of transformers {version()}"
)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return Sweep(tmp_path_factory.mktemp("sweep"))


@pytest.mark.default("cpmant", "bert", "llama", "gpt_oss")
@pinned
@pytest.mark.filterwarnings("default")  # a class may warn of anything
@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in QUICK else pytest.mark.full) for case in STORED]
)
def test_a_class_computes_what_transformers_computes_or_is_refused(case: str, sweep: Sweep) -> None:
    assert sweep.examine(case) == STORED[case]


@pinned
def test_every_causal_class_of_transformers_has_a_result() -> None:
    assert {case.partition(" ")[0] for case in STORED} == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def test_the_quick_selection_has_every_outcome() -> None:
    assert {"packed", "padded", "refused"} <= {STORED[case].layout for case in QUICK}


def test_the_page_is_that_of_the_results() -> None:
    assert Path(models.PAGE).read_text(encoding="utf-8") == models.page()
