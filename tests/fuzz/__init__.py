"""Files from outside, damaged or made to do harm: each is read, or refused in one sentence.

`make test` runs a few examples, always the same; `make fuzz` many, each time others.
"""
