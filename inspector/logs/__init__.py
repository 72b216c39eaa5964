"""Understanding logs: what a run printed, as events, settings and conclusions; and fast reading of huge log files.

`LogParser` takes bytes as they come and never raises. `summarize` reads a whole log. `LogFile` shows any part of a log
of any size. What lines mean is data: patterns.toml and the user's config file. No Textual, no torch, no numpy.
"""

from qinspect.inspector.logs.conclusions import Setting
from qinspect.inspector.logs.escapes import PLAIN, Style, clean, plain
from qinspect.inspector.logs.event import KINDS, EventKind, Level, LogEvent
from qinspect.inspector.logs.file import Growth, LogFile, LogLine
from qinspect.inspector.logs.parser import LogParser
from qinspect.inspector.logs.patterns import Patterns, load_patterns
from qinspect.inspector.logs.summary import LogSummary, summarize

__all__ = [
    "KINDS",
    "PLAIN",
    "EventKind",
    "Growth",
    "Level",
    "LogEvent",
    "LogFile",
    "LogLine",
    "LogParser",
    "LogSummary",
    "Patterns",
    "Setting",
    "Style",
    "clean",
    "load_patterns",
    "plain",
    "summarize",
]
