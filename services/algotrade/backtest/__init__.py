"""Backtests: strategies over history, off the event loop, kept with all that they depend on."""
