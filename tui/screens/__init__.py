"""Screens: one family a file."""
