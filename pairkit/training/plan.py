"""The plan of a run: its data, tokenized, its loss, its negatives, the order of its steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from pairkit.dataset.mixed import MixedData, open_data
from pairkit.dataset.reader import BuiltData, split_of
from pairkit.dataset.scales import Scale, scales
from pairkit.errors import InputError, ModelError
from pairkit.losses import Loss, WeightedSum, build
from pairkit.losses.building import sampler_settings
from pairkit.models.chat.format import ChatFormat
from pairkit.models.chat.saved import saved_template
from pairkit.models.chat.settings import uses_own
from pairkit.models.load import empty_model, load_tokenizer
from pairkit.models.new_tokens import add_tokens, new_ids
from pairkit.models.resolve import resolve
from pairkit.models.vocabulary import check_same_tokens
from pairkit.progress import progress, warn
from pairkit.training.kinds import KINDS, Kind
from pairkit.training.lora import check_base
from pairkit.training.output.content import Content, Unwritten, content_of
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.order import StepOrder
from pairkit.training.step.pairs import PairSets
from pairkit.training.step.router import routers_of
from pairkit.training.step.segment import Segment
from pairkit.training.tokens.sets import Tokenized
from pairkit.training.tokens.store import NOT_KEPT, TokenStore, tokens_key
from pairkit.training.tokens.token_set import TokenSet
from pairkit.training.tokens.truncation import Truncation, truncation


@dataclass(frozen=True)
class Plan:
    """All that is decided of a run before a model is loaded."""

    recipe: TrainRecipe
    loss: Loss | WeightedSum
    negatives: dict[str, Any]
    data: BuiltData | MixedData
    tokenizer: Any
    train: Tokenized
    held_out: Tokenized | None
    unwritten: Unwritten
    notes: tuple[str, ...] = ()  # what a person should know of how the template was applied
    hashes: Mapping[str, str] = field(default_factory=dict)  # of the dataset's files, in the main process
    segment: Segment | None = None  # which part of a longer training it is; None = it is all of it

    @property
    def kind(self) -> Kind:
        """All that depends on the kind of model that the loss trains."""
        return KINDS[self.loss.trains]

    @property
    def reference(self) -> str:
        """The name of the reference model."""
        return self.recipe.reference or self.recipe.model

    @cached_property
    def content(self) -> Content:
        """Hashes of all that decides the run but the recipe; for the main process, as it reads gigabytes."""
        content = content_of(self.recipe, self.hashes)
        # The tokenizer and the data were read before.
        self.unwritten.check()
        return content

    @cached_property
    def examples(self) -> Sequence[TokenSet]:
        """What a step takes some of: the training sets, or their pairs."""
        if self.kind.pairs is not None:
            recipe = self.recipe
            return self.kind.pairs(self.train, self.tokenizer, recipe.pairs_per_set, recipe.seed)
        if self.recipe.expand:
            return PairSets(self.train.sets, self.train.lengths.columns)
        return self.train.sets

    @cached_property
    def held_out_examples(self) -> Sequence[TokenSet]:
        """What is evaluated: the held-out sets, or all of their pairs; empty without any."""
        if self.held_out is None:
            return []
        if self.kind.pairs is not None:
            return self.kind.pairs(self.held_out, self.tokenizer, None, self.recipe.seed)
        return self.held_out.sets

    @cached_property
    def scales(self) -> list[Scale]:
        """The scales of the scores that the loss reads; none where it reads no scores."""
        # Also of one that reads ranks where there are none ("scores|ranks").
        reads = any("scores" in need for need in self.loss.needs)
        return scales(self.data, self.recipe.train_split) if reads else []

    @cached_property
    def shared_prompts(self) -> int:
        """Held-out prompts that are trained on too; none in one dataset, where a prompt is in one split."""
        if self.held_out is None or not isinstance(self.data, MixedData):
            return 0
        return self.data.shared_prompts(self.recipe.eval_split, self.recipe.train_split)

    @property
    def order(self) -> StepOrder:
        """Which examples each step takes."""
        recipe = self.recipe
        stream = len(self.examples), recipe.seed, recipe.epochs, recipe.sets_per_step
        if self.segment is None:
            return StepOrder(*stream, recipe.max_steps)
        return StepOrder(*stream, self.segment.steps, self.segment.first, self.segment.total)

    @property
    def longest(self) -> int:
        """The most tokens of a prompt with a completion after it."""
        longest = max(split.longest() for split in (self.train, self.held_out) if split)
        if "kl_baseline" not in self.loss.needs:
            return longest
        lengths = self.train.lengths  # another prompt's completion may follow
        other = int(lengths.prompt.max() + lengths.completion.max())
        return max(longest, min(self.recipe.max_length, other))

    @property
    def new_ids(self) -> list[int]:
        """The ids of the tokens that the recipe adds."""
        return new_ids(self.tokenizer, self.recipe.tokens)

    def truncation(self) -> dict[str, Truncation]:
        """Return what was cut of each split, by the split's name; nothing where these lengths cut nothing."""
        if not self.kind.cuts:
            return {}
        recipe = self.recipe
        splits = {recipe.train_split: self.train, recipe.eval_split: self.held_out}
        return {
            name: truncation(tokenized, recipe.max_length, recipe.max_prompt_length)
            for name, tokenized in splits.items()
            if tokenized
        }

    def refused(self) -> Iterator[dict[str, str]]:
        """Yield every set that cannot be used: its split, its id, the reason and details."""
        for split, tokenized in (
            (self.recipe.train_split, self.train),
            (self.recipe.eval_split, self.held_out),
        ):
            for set_id, reason, detail in tokenized.refused if tokenized else ():
                yield {"split": split, "set_id": set_id, "reason": reason, "detail": detail}


def plan(
    recipe: TrainRecipe,
    store: TokenStore = NOT_KEPT,
    *,
    allow_changed_data: bool = False,
    segment: Segment | None = None,
) -> Plan:
    """Read the data, and tokenize what `store` does not have.

    Args:
        allow_changed_data: read files of the dataset that are not those that its manifest lists.
        segment: which part of a longer training the run is; its steps take the place of the recipe's.

    Raises:
        InputError: no set can be used, or the dataset was changed.
        OutputError: `store` cannot be written to.
        ModelError: the tokenizer or configuration cannot be loaded, or the model has too few positions, or no
            experts to balance.
    """
    loss = build(recipe.loss_name, **recipe.loss_parameters)
    data = open_data(recipe.data, recipe.train_split, recipe.seed)
    # Before anything of it is hashed or read.
    unwritten = Unwritten(recipe, data.files(recipe.train_split, recipe.eval_split))
    # In one process, because all read the same files.
    hashes = _checked(data, recipe, allow_changed_data) if store.processes.main else {}
    check_base(recipe.model, resolve(recipe.model, recipe.revision), recipe.lora)
    format = chat_format(recipe, data.texts(recipe.train_split, recipe.limit))
    tokenizer = format.tokenizer
    _check_vocabularies(recipe, tokenizer)
    reading = store, hashes, unwritten
    train = _tokenize(recipe, loss, data, format, recipe.train_split, recipe.limit, *reading)
    # Before any model is loaded, because tokens decide which sets can be used.
    if not train.sets:
        raise InputError(f"{data.folder}: no set can be trained on: {train.refusals()}")
    held_out = None
    if data.rows(recipe.eval_split):  # a dataset without held-out sets trains without evaluation
        held_out = _tokenize(recipe, loss, data, format, recipe.eval_split, recipe.eval_limit, *reading)
    elif recipe.keep_best:
        raise InputError(
            f"keep_best needs held-out sets, but {data.folder} has no split {recipe.eval_split!r}; set "
            "eval_split or remove keep_best"
        )
    # So that the saved model renders conversations by itself as it was trained.
    tokenizer.chat_template = saved_template(format)
    negatives = sampler_settings(loss, recipe.negatives, data.rejected)
    planned = Plan(
        recipe,
        loss,
        negatives,
        data,
        tokenizer,
        train,
        held_out,
        unwritten,
        KINDS[loss.trains].notes(format, train.noted),
        hashes,
        segment,
    )
    # The reference too, because it scores the same texts and may have fewer positions.
    for name in dict.fromkeys([recipe.model, planned.reference]):
        _check_positions(planned, name)
    _check_routers(recipe)
    return planned


def _checked(data: BuiltData | MixedData, recipe: TrainRecipe, allow_changed: bool) -> dict[str, str]:
    """Return the hashes of the files to read, after comparing them with the manifest's."""
    splits = recipe.train_split, recipe.eval_split
    hashes = data.hashes(*splits)
    if problems := data.changed(hashes, *splits):
        difference = f"{data.folder}: not as it was built: {', '.join(problems)}"
        if not allow_changed:
            raise InputError(
                f"{difference}; build the dataset again, or pass --allow-changed-data to train on it as it is"
            )
        warn(difference)
    return hashes


def chat_format(recipe: TrainRecipe, texts: Iterator[str]) -> ChatFormat:
    """Load the tokenizer of a recipe, with the tokens that it adds and its template settings.

    Args:
        texts: what a tokenizer is trained on, where the recipe names none that exists.

    Raises:
        ModelError: a tokenizer that cannot be loaded.
        RecipeError: a token to add that it has already, or a template that cannot be used.
    """
    kind = KINDS[recipe.trains]
    if kind.format is not None:
        lengths = recipe.max_length, recipe.max_prompt_length
        return kind.format(recipe.model, recipe.revision, recipe.tokenizer, lengths)  # type: ignore[no-any-return]
    tokenizer = load_tokenizer(
        recipe.tokenizer or recipe.model,
        revision=recipe.revision,
        trust_remote_code=recipe.trust_remote_code,
        texts=texts,
        needs_template=uses_own(recipe.template),
    )
    if recipe.tokens:
        add_tokens(tokenizer, recipe.tokens)
    format = ChatFormat(tokenizer, recipe.template)
    kind.prepare(format)
    return format


def _check_vocabularies(recipe: TrainRecipe, tokenizer: Any) -> None:
    """Refuse a model and a reference to which the tokenizer's ids mean other tokens."""
    models = {}
    if recipe.tokenizer not in (None, recipe.model) and not recipe.model.endswith(".json"):
        models[recipe.model] = ("the model", "leave --tokenizer out, so that the model's own is used")
    if recipe.reference not in (None, recipe.model) and not str(recipe.reference).endswith(".json"):
        remedy = "use a reference with the tokenizer of the model, or leave --reference out"
        models[str(recipe.reference)] = ("the reference", remedy)
    for name, (what, remedy) in models.items():
        check_same_tokens(
            tokenizer,
            name,
            what=what,
            remedy=remedy,
            revision=recipe.revision_of(name),
            trust_remote_code=recipe.trust_remote_code,
        )


def _check_positions(planned: Plan, name: str) -> None:
    """Refuse texts longer than the model's positions.

    Beyond them learned embeddings end; rotary ones continue without an error, at positions never trained on.
    """
    recipe = planned.recipe
    most = planned.kind.positions(name, recipe.revision_of(name), recipe.trust_remote_code)
    if most and planned.longest > most:
        raise ModelError(
            f"the longest prompt has {planned.longest} tokens with its completion, but the model {name!r} "
            f"has only {most} positions; set max_length={most}"
        )


def _check_routers(recipe: TrainRecipe) -> None:
    """Refuse to balance the experts of a model that has none, before its log-probs are computed for hours."""
    if recipe.router_aux_loss is not None:
        model = empty_model(
            recipe.model,
            revision=recipe.revision,
            dtype=recipe.dtype,
            trust_remote_code=recipe.trust_remote_code,
            vocabulary=None,
        )
        routers_of(model, recipe.router_aux_loss)


def _tokenize(
    recipe: TrainRecipe,
    loss: Loss | WeightedSum,
    data: BuiltData | MixedData,
    format: ChatFormat,
    split: str,
    limit: int | None,
    store: TokenStore,
    hashes: Mapping[str, str],
    unwritten: Unwritten,
) -> Tokenized:
    rows = data.rows(split)
    rows = min(rows, limit or rows)  # sets; only for the progress bar and the key
    kind = KINDS[loss.trains]
    settings: dict[str, Any] = {
        "max_length": recipe.max_length,
        "wanted": kind.wanted(loss),
        "thoughts": recipe.thoughts,
    }
    if kind.cuts:
        settings |= {"max_prompt_length": recipe.prompt_limit, "assistant_turns": recipe.assistant_turns}

    # A generator, because a dataset's tokens need not fit into memory.
    def make() -> Iterator[pa.RecordBatch]:
        with progress(f"tokenizing {split}", rows, unit="sets") as advance:
            yield from kind.tokens(data.tables(split, limit), format, **settings, advance=advance)
        # Before the tokens are stored, by the hashes of these files, for other runs too.
        unwritten.check()

    # The key is made only if something is stored, because hashing a large tokenizer takes a while.
    of_split = [digest for name, digest in hashes.items() if split_of(name) == split]
    identity = {"data": of_split, "rows": rows, "template": format.identity}
    if isinstance(data, MixedData):
        identity["mixed"] = data.mixed(split)
    return store.sets(lambda: tokens_key(format.tokenizer, **identity, **settings), make)
