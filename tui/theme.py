"""Themes: dark and light in colours that colour-blind eyes tell apart (blue/orange, never red/green alone), and one of
the terminal's own sixteen for slow links and plain consoles."""

from __future__ import annotations

from textual.theme import BUILTIN_THEMES, Theme

# With 256 colours rich takes greys only for what is nearly grey (saturation under 15 %); other dark colours become
# black, and the panes' titles with them.
DARK = Theme(
    name="qinspect-dark",
    primary="#5aa9e6",
    secondary="#9aa5b1",
    accent="#f2c14e",
    warning="#f2994a",
    error="#ff6b6b",
    success="#7bc8a4",
    foreground="#d8dee6",
    background="#131518",
    surface="#131518",
    panel="#22272d",
    dark=True,
    variables={
        "up": "#f2994a",
        "down": "#5aa9e6",
        "dim": "#75818f",
        "cursor": "#2c4257",
        "cursor-off": "#30363d",
        "mark": "#f2c14e",
    },
)
LIGHT = Theme(
    name="qinspect-light",
    primary="#0b62a8",
    secondary="#57606a",
    accent="#8a5a00",
    warning="#b3550a",
    error="#b3261e",
    success="#1f7a4d",
    foreground="#1c2126",
    background="#fbfbf8",
    surface="#fbfbf8",
    panel="#ecece6",
    dark=False,
    variables={
        "up": "#b3550a",
        "down": "#0b62a8",
        "dim": "#6b737c",
        "cursor": "#cfe2f3",
        "cursor-off": "#e4e4dc",
        "mark": "#8a5a00",
    },
)
ANSI = Theme(
    name="qinspect-ansi",
    primary="ansi_cyan",
    secondary="ansi_default",
    accent="ansi_yellow",
    warning="ansi_yellow",
    error="ansi_red",
    success="ansi_green",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    dark=True,
    ansi=True,
    variables={
        **BUILTIN_THEMES["ansi-dark"].variables,
        "up": "ansi_yellow",
        "down": "ansi_cyan",
        "dim": "ansi_bright_black",
        "cursor": "ansi_default",
        "cursor-off": "ansi_default",
        "mark": "ansi_yellow",
    },
)
THEMES = (DARK, LIGHT, ANSI)
