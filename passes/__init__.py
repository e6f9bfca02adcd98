"""The compiler's passes: one file (or folder) per pass, and this folder is the registry."""
