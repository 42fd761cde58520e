"""An independent, slow reading of the engine's contract: what every fast path is held to.

Plain Python integers, fractions and floats; no numpy, no import from `algotrade`. Nothing here is shared with the
engine, so that an error has to be made twice, in two different ways, to go unseen.
"""
