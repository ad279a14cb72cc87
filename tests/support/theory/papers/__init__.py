"""The papers of the page, in its order."""

from support.theory.papers import alpha_dpo, mcpo, minor_dpo, spo, stapo

PAPERS = (mcpo.PAPER, alpha_dpo.PAPER, spo.PAPER, stapo.PAPER, minor_dpo.PAPER)
