"""Strategies: saved drawings, what the compiler says of them, and the artefacts they compile to."""
