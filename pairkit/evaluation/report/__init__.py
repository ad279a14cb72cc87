"""The report page of an evaluation, and the parts of it that a comparison shows too.

texts.py     the answers of models, read from what an evaluation wrote
scores.py    metrics, categories, what the judge said, settings
lengths.py   lengths of answers, and scores against them
cases.py     the prompts with the lowest and the highest scores, with all texts
page.py      the page
"""
