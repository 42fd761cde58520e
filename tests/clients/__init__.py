"""Tests of one platform, started once for all of them in a worker, and ended with the last."""
