"""Arena-Hard v0.1 and v2.0: scores against a reference's answers, plain and with style controlled.

versions        what the two versions are: categories, references, judges, hashes
questions       `question.jsonl`
answers         `model_answer/MODEL.jsonl` of both layouts, read and written
references      whose answers each category is compared with
labels          the verdicts of the judge, read as both versions do
judging         what the judge is asked, and how verdicts are asked for again
judgments       `model_judgment/JUDGE/MODEL.jsonl` and battles, read and written
games           the two games of a prompt, and the score that each version makes of them
style, tokens   markdown and length of an answer
fit             logistic regression to its optimum, for many resamples at once
style_control   the score at equal style, or by the public formula
pool            other evaluations, for the public formula
scores          all of these for a category, as metrics
agreement       how far two judges agree
about           what results hold next to the numbers
recipe, inputs  the settings, and the files
run             the three steps
plan            what would be asked
prompt.txt, prompt_creative_writing.txt  the judge's prompts (Apache-2.0, their source is in the files)

Source: Li et al., From Crowdsourced Data to High-Quality Benchmarks: Arena-Hard and BenchBuilder Pipeline
(2024); https://github.com/lmarena/arena-hard-auto.
"""
