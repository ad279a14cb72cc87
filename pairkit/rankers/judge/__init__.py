"""The ranker `judge`: an LLM that compares, rates or orders completions, through any engine.

recipe.py      the settings
header.py      the first lines of a prompt file: what a verdict is, and in which form
prompt.py      prompt files: their version, their checks, their hashes
texts.py       the texts shown to a judge: between random marks, with nothing that looks like a verdict
spoken.py      an answer without its drafts, and without what may follow a verdict
forms.py       the forms in which judges write verdicts
verdicts.py    the verdict in an answer, if there is exactly one
rounds.py      questions: asked, retried, recorded and counted
iterative.py, round_robin.py, pointwise.py, listwise.py   one protocol each, from questions to scores
statistics.py  order bias, flips, ties and parse failures, with intervals
ranker.py      the `Ranker` made of these; `load_judge` opens it
"""
