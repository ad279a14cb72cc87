"""Online training: the policy completes prompts, the completions are ranked, it trains on them, and again.

recipe     what determines a run: a build, a training, and how they take turns
checks     what is wrong with a recipe, before anything costs
prompts    the distinct prompts of the source, and those of each segment
plan       the steps, prompts and calls of each segment
run        all segments, from the start or continued
segment    one of them: its prompts, its dataset, its training
mixed      the dataset of a segment with sets of earlier ones
serve      a server of the policy, for the engine openai
stage      what runs in such a process
statistics the line of `segments.jsonl`
"""
