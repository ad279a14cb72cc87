"""Filters: which candidate sets leave a build because of a value that a row of one table names."""

from pairkit.mining.filters.recipe import FilterRecipe
from pairkit.mining.filters.stage import Judged, filter_sets, judge

__all__ = ["FilterRecipe", "Judged", "filter_sets", "judge"]
