"""The small commands beside Lightning's: one file each, with `main(arguments) -> exit code`."""
