"""PairRM as it is trained: from a checkpoint of it, from a DeBERTa encoder, or from a configuration.

start.py     what training starts from: configuration, tokenizer, limits, weights
format.py    what stands in for a chat format: the ranker's own encoding of texts
pairs.py     the pairs of each set, which a step takes some of
forward.py   the logits of both orders of a pair, with gradient
check.py     the model of a run against transformers' own, before its first step
save.py      the checkpoint, as the ranker and llm-blender read it
settings.py  what a recipe may not set
"""
