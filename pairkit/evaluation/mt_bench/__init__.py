"""MT-Bench: ratings from 1 to 10 of the answers to 80 questions of two turns.

questions            the questions, and the reference answers that the judge is shown for some of them
answers              `model_answer/*.jsonl`, read and written
judgments            `model_judgment/*.jsonl`, read and written
prompts              the judge's prompts, in FastChat's format
rating               the rating in a judge's words
verdicts             asking the judge, or reading stored judgments
agreement            how far two judges agree
scores               the means over turns, questions and categories
about                what results hold next to the numbers
recipe, inputs       the settings, and the files
run                  the three steps
plan                 what would be asked
judge_prompts.jsonl  the public prompts for ratings (Apache-2.0, their source is in the file)

Source: Zheng et al., Judging LLM-as-a-Judge (2023); https://github.com/lm-sys/FastChat, fastchat/llm_judge.
"""
