"""The commands, one file each: the only package that prints or picks an exit code."""
