"""Optimisations that the service keeps: asked for, worked at and gone on with, watched and read."""
