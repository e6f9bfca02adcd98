"""The simulator: function (what the bytes compute) and time (when they do it)."""
