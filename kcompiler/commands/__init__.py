"""The commands of `kcompile`: one file each, named like the command, holding `command`."""
