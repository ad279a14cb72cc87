"""The ranker `reward_model`: a sequence-classification model scores each conversation.

checkpoint.py  models and tokenizers, checked before they score anything
armorm.py      ArmoRM, whose own code does not run with transformers 5
ranker.py      the `Ranker`; `load_reward_model` opens it
"""
