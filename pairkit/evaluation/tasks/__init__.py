"""`pairkit eval tasks`: tasks of lm-eval (the LM Evaluation Harness), computed by it.

recipe.py   the tasks, examples in the prompt, chat template
local.py    rows of a task from a file instead of the Hub
harness.py  loading tasks and running them with lm-eval
scores.py   lm-eval's samples as scores per prompt
run.py      the whole evaluation, and the files it writes
"""
