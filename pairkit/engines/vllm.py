"""The engine of vLLM's offline `LLM`: for all GPUs of a machine, and for many completions at once.

Every completion is a vLLM request with its own seed. Those of one prompt are adjacent, so that prefix caching
computes the prompt once. vLLM's scheduler always has waiting requests, because it is given new ones after
each of its steps, not when all of the old ones have finished.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from pairkit.engines.base import Call, Problem, Request, Result, Structure, TopLogprobs, Unloaded
from pairkit.engines.local import ids_of, load_chat, model_identity, rendered
from pairkit.engines.sampled import Sampled, SampledReader
from pairkit.errors import EngineError, MissingExtraError, PairkitError, RecipeError
from pairkit.models.chat.format import ChatFormat
from pairkit.models.names import cannot_load
from pairkit.models.save import whole_model

if TYPE_CHECKING:
    from pairkit.engines.recipe import CallSettings, EngineRecipe

# Arguments that pairkit sets itself -> the recipe field that decides them.
_OURS = {"model": "model", "revision": "revision", "tokenizer": "model", "seed": "seed"}


def open_vllm(recipe: EngineRecipe, calls: CallSettings, *, name: str | None = None) -> VLLMEngine:
    """Load the recipe's model with vLLM; `recipe.vllm` holds further arguments of `vllm.LLM`.

    Raises `MissingExtraError` without vLLM, `RecipeError` for arguments that are unknown or that other fields
    of the recipe decide, `ModelError` for a model that cannot be loaded.
    """
    for key in recipe.vllm.keys() & _OURS.keys():
        raise RecipeError(
            f"recipe key 'vllm.{key}' conflicts with {_OURS[key]!r}: set {_OURS[key]!r} instead"
        )
    # Only a default: whoever looks for a problem in vLLM may want its log.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    # Its log goes where pairkit's goes, because stdout is for results.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        from vllm import LLM
        from vllm.platforms import current_platform
    except ImportError as error:
        raise MissingExtraError(
            f"vllm is not installed, or not for this machine ({error}): pip install 'pairkit[vllm]'"
        ) from error
    settings: dict[str, Any] = {"enable_prefix_caching": True, "seed": 0, "trust_remote_code": False}
    if current_platform.is_cpu():
        # With a seed, a prompt that is computed in chunks crashes vLLM 0.32, because torch's CPU generator
        # cannot be rewound.
        settings["enable_chunked_prefill"] = False
    settings |= recipe.vllm
    # Holds the directory of a model whose adapters were merged, as long as the engine runs.
    stack = ExitStack()
    try:
        chat = load_chat(recipe.model, recipe.revision, recipe.template)
        model, revision = stack.enter_context(whole_model(recipe.model, recipe.revision))
        llm = LLM(model=model, revision=revision, **settings)
    except PairkitError:
        raise
    except TypeError as error:
        raise RecipeError(f"recipe key 'vllm': {error}") from error
    except Exception as error:  # any type: from the configuration, the weights or the device
        raise cannot_load("model", recipe.model, error) from error
    return VLLMEngine(llm, chat, name or recipe.model, _identity(recipe, chat), stack)


def unloaded_vllm(recipe: EngineRecipe) -> Unloaded:
    """Return what is known of the engine without loading its model.

    Prompts that are longer than the model are not found: vLLM reports how long it is.
    """
    chat = load_chat(recipe.model, recipe.revision, recipe.template)
    return Unloaded(_identity(recipe, chat), partial(_calls, chat, None))


def _identity(recipe: EngineRecipe, chat: ChatFormat) -> dict[str, Any]:
    identity = {"engine": "vllm", **model_identity(recipe.model, recipe.revision, ("vllm",), chat)}
    return identity | {"vllm": recipe.vllm}


def _calls(chat: ChatFormat, limit: int | None, requests: Sequence[Request]) -> list[Call]:
    calls = []
    for owner, request in enumerate(requests):
        outcome = rendered(chat, request, limit)
        if isinstance(outcome, Problem):
            calls.append(Call((request,), (owner,), outcome))
        elif request.samplings:
            calls.append(Call((outcome,), (owner,)))
    return calls


@dataclass
class _Flight:
    """A call that vLLM is working on, and what was sampled for it so far, by sample."""

    call: Call
    sampled: dict[int, Sampled] = field(default_factory=dict)
    tops: dict[int, TopLogprobs] = field(default_factory=dict)


class VLLMEngine:
    """A running vLLM as an engine; created by `open_vllm`."""

    def __init__(
        self, llm: Any, chat: ChatFormat, name: str, identity: Mapping[str, Any], files: ExitStack
    ) -> None:
        self.name, self.identity, self.llm = name, identity, llm
        self._engine, self._chat, self._files = llm.llm_engine, chat, files
        self._reader = SampledReader(chat)
        self._stops = sorted(self._reader.stops())
        config = self._engine.vllm_config
        self._limit: int = config.model_config.max_model_len
        # Twice as many as run at once, so that the scheduler can replace what ends within a step.
        self._enough: int = 2 * config.scheduler_config.max_num_seqs
        self._in_flight: dict[int, _Flight] = {}
        self._unfinished = 0  # completions that vLLM has not finished

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        """Return one call per request, because vLLM batches by itself."""
        return _calls(self._chat, self._limit, requests)

    def room(self) -> bool:
        return self._unfinished < self._enough

    def submit(self, number: int, call: Call) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        (request,) = call.requests
        form = {} if request.structure is None else {"structured_outputs": _enforced(request.structure)}
        self._in_flight[number] = _Flight(call)
        self._unfinished += len(request.samplings)
        for sample, sampling in enumerate(request.samplings):
            settings = SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=sampling.seed,
                max_tokens=sampling.max_tokens,
                logprobs=request.top_logprobs,
                # In addition to those of the generation config and EOS.
                stop_token_ids=self._stops,
                # The text is made here, from the ids, because vLLM's has no marks that are special tokens.
                detokenize=False,
                # Otherwise each step would return all texts so far.
                output_kind=RequestOutputKind.FINAL_ONLY,
                **form,
            )
            prompt = {"prompt_token_ids": ids_of(request)}
            self._engine.add_request(f"{number}/{sample}", prompt, settings)

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        """Run steps until a request has all of its completions."""
        results: list[tuple[int, tuple[Result, ...]]] = []
        while self._in_flight and not results:
            try:
                outputs = self._engine.step()
            except Exception as error:  # its processes raise errors of many types
                raise EngineError(f"vLLM stopped: {type(error).__name__}: {error}") from error
            for output in outputs:
                if output.finished:
                    results += self._take(output)
        return results

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        return []

    def usage(self) -> Mapping[str, float]:
        return {}

    def close(self) -> None:
        self._engine.engine_core.shutdown()
        self._files.close()

    def _take(self, output: Any) -> list[tuple[int, tuple[Result, ...]]]:
        number, sample = map(int, output.request_id.split("/"))
        flight = self._in_flight[number]
        (request,) = flight.call.requests
        flight.sampled[sample] = _sampled(output.outputs[0])
        if request.top_logprobs is not None:
            flight.tops[sample] = self._top(output.outputs[0], request.top_logprobs)
        self._unfinished -= 1
        if len(flight.sampled) < len(request.samplings):
            return []
        del self._in_flight[number]
        sampled = [flight.sampled[key] for key in sorted(flight.sampled)]
        completions = self._reader.completions(request, sampled)
        result = tuple(
            completion._replace(logprobs=flight.tops.get(key)) for key, completion in enumerate(completions)
        )
        return [(number, (result,))]

    def _top(self, output: Any, count: int) -> TopLogprobs:
        """Return the most probable first tokens; vLLM adds the sampled one where it is none of them."""
        first = sorted(output.logprobs[0].items(), key=lambda entry: entry[1].rank)[:count]
        return self._reader.top([number for number, _ in first], [entry.logprob for _, entry in first])


def _enforced(structure: Structure) -> Any:
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(json=structure.schema)


def _sampled(output: Any) -> Sampled:
    if output.finish_reason not in ("stop", "length"):
        raise EngineError(f"vLLM aborted a completion: {output.finish_reason}")
    # The stop token is the last of the ids.
    return list(output.token_ids), output.finish_reason
