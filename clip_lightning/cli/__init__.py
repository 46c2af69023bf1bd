"""The verbs of the command line, one file each; the only package that knows all the others."""
