"""Tests of one platform, started once for all of them, and ended with the last."""
