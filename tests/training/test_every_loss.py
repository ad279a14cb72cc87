"""Every loss of the table: neither the token budget nor the number of processes changes what it trains to.

The losses are those of the table itself, so that a new one is included. Ten steps are taken as the loop takes
them, without its files. The policy starts as the reference: in the first step every log-ratio is rounding.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from support.processes import two_processes
from support.tiny import random_sets, write_data
from support.training import split_of, step_model, token_sets
from torch import Tensor

from pairkit.losses import LOSSES, build
from pairkit.losses.building import sampler_settings
from pairkit.training.step.batch import prepare
from pairkit.training.step.examples import Split
from pairkit.training.step.objective import Averages
from pairkit.training.step.order import StepOrder, draw_seeds

BUDGETS = (16384, 256, 64)  # tokens per micro-batch: one pass, a few, one per set
SETS, SETS_PER_STEP, STEPS = 24, 8, 10
TOLERANCE = 1e-5  # of the way that the weights moved
VARIANTS = [
    ("alpha_dpo", {"margin_reduction": "sum"}),
    ("alpha_dpo", {"normalize": False, "stop_gradient": False}),
    ("alpha_dpo", {"stats": "dataset", "stats_every": 3}),
    ("alpha_dpo", {"margin": "token_kl"}),
    ("simpo", {"length_normalized": False}),
    ("cpo", {"nll_reduction": "sum"}),
    ("stapo", {"logit": "dpo"}),
    ("mcpo", {"sampling": "max", "negatives": 2}),
]
CASES = [(name, {}) for name in LOSSES] + VARIANTS
