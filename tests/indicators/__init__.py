"""The catalogue's indicators: parameters to try, what other programs make of them, and the tests."""
