"""The search for parameters: many backtests of one artefact, judged in and out of sample."""
