"""Bars of the past: fetched from venues, kept in files, never fetched twice."""
