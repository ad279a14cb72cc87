"""What becomes of candidate sets before they are written: policies, filters and noise."""

from pairkit.mining.recipe import MineRecipe
from pairkit.mining.stage import Mined, mine

__all__ = ["MineRecipe", "Mined", "mine"]
