"""The NPUs: one folder per target, which edits nothing outside itself."""
