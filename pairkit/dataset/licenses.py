"""The licenses that a card may name, as the hub spells them.

Source: huggingface.co/docs/hub/repositories-licenses. The hub refuses the front matter of a card with any
other one.
"""

from __future__ import annotations

from difflib import get_close_matches

from pairkit.errors import RecipeError

OTHER = "other"
_NAMES = """
afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0
etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0
grok2-community h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2
llama3.3 llama4 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0
pddl postgresql unknown unlicense wtfpl zlib
"""
LICENSES = frozenset(_NAMES.split())


def license_fields(license: str) -> dict[str, str]:
    """Make the front matter of a license: an identifier of the hub, or `other:NAME`.

    Raises `RecipeError` for anything else.

    >>> license_fields("other:house-rules")
    {'license': 'other', 'license_name': 'house-rules'}
    """
    kind, _, name = license.partition(":")
    if kind == OTHER and name.strip():
        return {"license": OTHER, "license_name": name.strip()}
    if license not in LICENSES:
        near = get_close_matches(license.lower().replace(" ", "-"), LICENSES, n=1)
        hint = f"did you mean {near[0]!r}? Else write" if near else "write"
        # Without the list, which would fill the screen.
        raise RecipeError(
            f"card.license: {license!r} is not a license that the hub knows; {hint} an identifier of "
            f"huggingface.co/docs/hub/repositories-licenses, or {OTHER}:NAME"
        )
    return {"license": license}
