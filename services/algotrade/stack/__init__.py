"""Real servers without Docker: each a process of its own on 127.0.0.1, for `make stack` and for the tests."""
