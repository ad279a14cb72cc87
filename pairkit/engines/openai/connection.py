"""How a server is reached: its connections, the proxy on the way, and the key that it gets."""

from __future__ import annotations

import os
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from pairkit.engines.recipe import CallSettings, EngineRecipe
from pairkit.errors import RecipeError


async def session(settings: CallSettings, key: str | None) -> aiohttp.ClientSession:
    """The connections of one engine; belongs to the event loop that it is made in."""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {key}"} if key else {},
        connector=aiohttp.TCPConnector(limit=settings.concurrency),
        timeout=aiohttp.ClientTimeout(total=settings.timeout, sock_connect=30),
    )


def proxy(url: str) -> str | None:
    """The proxy that the environment names for a URL. Looked up once: aiohttp would do so for every call."""
    parts = urlsplit(url)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def key_of(recipe: EngineRecipe) -> str | None:
    """The key for the recipe's server; another server than OpenAI's gets none that was not meant for it."""
    given = recipe.model_fields_set
    if "base_url" in given and "api_key_env" not in given:
        return None
    name = recipe.api_key_env
    key = os.environ.get(name, "").strip()
    if not key:
        raise RecipeError(
            f"{recipe.base_url} wants a key: put it into the environment variable {name}, "
            "or give base_url for a server that wants none"
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise RecipeError(f"the environment variable {name} holds no key: it has characters that no key has")
    return key
