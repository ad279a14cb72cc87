"""The ranker `judge`: an LLM that compares, rates or orders completions, through any engine.

recipe.py     the settings
prompt.py     the judge's prompts: files with a version, checked, hashed
texts.py      what a judge is shown: texts between random marks, nothing in them that looks like a verdict
verdicts.py   an answer's verdict, or that there is none
rounds.py     questions asked, asked again, recorded and counted
iterative.py, round_robin.py, pointwise.py, listwise.py   one protocol each: questions to scores
statistics.py order bias, flips, ties and unreadable verdicts, with intervals
ranker.py     all of it as a `Ranker`: `load`
"""
