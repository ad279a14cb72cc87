"""Names of metrics of a model of a matrix; its own name follows. Others are METRIC or METRIC/CATEGORY."""

MEAN_WIN_RATE = "mean_win_rate/"
WIN_RATE_OVER = "win_rate_over/"
