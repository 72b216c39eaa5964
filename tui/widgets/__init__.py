"""Widgets: one family a file, all by the line API."""
