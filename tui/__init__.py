"""The screen: reads from the inspector, posts messages, never blocks. Nothing is computed here."""
