"""What is asked in a box over a screen, whichever: one question a file."""
