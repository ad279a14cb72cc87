"""Names of metrics of a model of a matrix, whose own name follows; another metric is named METRIC/CATEGORY."""

MEAN_WIN_RATE = "mean_win_rate/"
WIN_RATE_OVER = "win_rate_over/"
