"""The generated field rules."""
