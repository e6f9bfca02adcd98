"""The tests: laws, passes, targets, models, and the repository itself."""
