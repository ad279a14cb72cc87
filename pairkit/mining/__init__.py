"""Mining: which completions and sets are kept, and the noise that is added, before sets are written."""

from pairkit.mining.recipe import MineRecipe
from pairkit.mining.stage import mine

__all__ = ["MineRecipe", "mine"]
