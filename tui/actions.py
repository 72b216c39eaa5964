"""Every action once: of it come bindings, the hint bar, the help screen, the palette, docs/keys.md.

`ACTIONS` are the compare screen's, `RUN_ACTIONS` the runs screen's, `DISTRIBUTION_ACTIONS` those of an exact
distribution, `WHENCE_ACTIONS` those of the answer which alpha made the scales, `EXPLORE_ACTIONS` those of the alpha
explorer, `LINT_ACTIONS` those of the findings of lint. What several have has one name, so that one line of the config
file remaps it in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.binding import Binding
from textual.screen import Screen


@dataclass(frozen=True, slots=True)
class Action:
    """name: also the binding's id in the config file. keys: the first is shown. label: for the hint bar, "" to leave it
    out there. help: a sentence, in which `{reverse}` stands for the key of that action. group: heading in the help.
    sense: what its keys mean on every screen, "" for the name: two actions may have one key only where they have one
    sense."""

    name: str
    keys: tuple[str, ...]
    label: str
    help: str
    group: str
    sense: str = ""

    @property
    def means(self) -> str:
        """What a key of it stands for, whatever the screen."""
        return self.sense or self.name

    @property
    def is_everywhere(self) -> bool:
        """Whether it is of every screen, wherever it makes sense."""
        return self.means in EVERYWHERE


EVERYWHERE = frozenset((
    *("down", "up", "left", "right", "page_down", "page_up", "top", "bottom", "open", "next_pane", "previous_pane"),
    *("label_panes", "map", "pane 1", "pane 2", "pane 3", "pane 4", "back", "forward", "close", "quit", "leave"),
    *("find", "jump", "next_finding", "previous_finding", "largest_finding", "only_what_matters", "type_place"),
    *("sort", "reverse", "closer", "farther", "zoom", "theme", "repaint", "reload", "palette", "help", "suspend"),
    *("copy_row", "copy_key", "copy_value", "copy_command", "export"),
))  # fmt: skip
"""Senses that are those of every screen, wherever it has them."""
OF_VIEWS = frozenset((
    *("view_detail", "view_histogram", "view_weight", "view_codes", "view_profile", "view_values", "view_error"),
    *("verdict", "distribution", "explore", "apply_alpha", "measure", "bits", "log_scale", "log_axis"),
))  # fmt: skip
"""Senses that look at the thing under the cursor, and how it is drawn: the same on every screen too."""

MOVE, FIND, VIEW, OUT = "Moving", "Finding", "Looking", "Copying and saving"
ACTIONS = (
    Action("down", ("j", "down"), "", "Next row.", MOVE),
    Action("up", ("k", "up"), "", "Previous row.", MOVE),
    Action("page_down", ("pagedown", "ctrl+d", "space"), "", "A page down.", MOVE),
    Action("page_up", ("pageup", "ctrl+u"), "", "A page up.", MOVE),
    Action("top", ("g", "home"), "", "First row.", MOVE),
    Action("bottom", ("G", "end"), "", "Last row.", MOVE),
    Action("open", ("enter",), "open", "Open or close a layer; show a scale's detail large.", MOVE),
    Action("expand", ("l", "right"), "", "Open a layer, or go into it.", MOVE, "right"),
    Action("collapse", ("h", "left"), "", "Close a layer, or go up.", MOVE, "left"),
    Action("next_pane", ("tab",), "pane", "Next pane.", MOVE),
    Action("previous_pane", ("shift+tab",), "", "Previous pane.", MOVE),
    Action("label_panes", ("J",), "", "A letter on every pane: the next key goes there.", MOVE),
    Action("pane_overview", ("0",), "overview", "The whole model as a map: layers by kinds.", MOVE, "map"),
    Action("pane_tree", ("1",), "", "The layer tree.", MOVE, "pane 1"),
    Action("pane_table", ("2",), "", "The scales.", MOVE, "pane 2"),
    Action("pane_detail", ("3",), "", "The detail.", MOVE, "pane 3"),
    Action("pane_runs", ("4",), "", "The runs that are still running, or ended just now.", MOVE, "pane 4"),
    Action("back", ("left_square_bracket", "backspace"), "", "Back to where you were.", MOVE),
    Action("forward", ("right_square_bracket",), "", "Forward again.", MOVE),
    Action("close", ("escape",), "", "Drop the filter, zoom, scope; then to the overview.", MOVE),
    Action("next_difference", ("n",), "next diff", "Next difference in forward order.", FIND, "next_finding"),
    Action("previous_difference", ("N", "p"), "", "Previous difference.", FIND, "previous_finding"),
    Action("largest_difference", ("M",), "largest", "The largest difference.", FIND, "largest_finding"),
    Action("filter", ("slash",), "filter", "Filter: words, format:w4a8; {close} clears it.", FIND, "find"),
    Action("jump", ("f", "ctrl+p"), "jump", "Fuzzy jump to any scale or tensor.", FIND),
    Action("only_changed", ("c",), "changed", "Only scales that differ, or all.", FIND, "only_what_matters"),
    Action("sort", ("s",), "sort", "Sort by the next column; {reverse} reverses.", FIND),
    Action("reverse", ("S",), "", "Reverse the order.", FIND),
    Action("go_to_index", ("number_sign",), "", "In the values, go to an index: 17, or 3,17.", FIND, "type_place"),
    Action("measure", ("m",), "measure", "On the overview: the next measure.", FIND),
    Action("bookmark", ("quotation_mark",), "", "Set or remove a bookmark on this scale.", FIND),
    Action("next_bookmark", ("apostrophe",), "", "Next bookmark.", FIND),
    Action("fold_all", ("minus",), "", "Close all layers.", VIEW, "farther"),
    Action("fold_one_more", ("plus", "equals_sign"), "", "Open one level more everywhere.", VIEW, "closer"),
    Action("view_detail", ("d",), "detail", "What this is a scale of, and where it is stored.", VIEW),
    Action("view_histogram", ("i",), "hist", "Histogram of the scale, A over B.", VIEW),
    Action("view_weight", ("w",), "weight", "Histogram of the dequantized weight.", VIEW),
    Action("view_codes", ("o",), "codes", "Histogram of the integer codes.", VIEW),
    Action("view_profile", ("r",), "profile", "A and B by channel, and B vs A as a heat map.", VIEW),
    Action("view_values", ("v",), "values", "The values, side by side.", VIEW),
    Action("view_error", ("percent_sign",), "", "The weight's error: steps and map, sizes, channels.", VIEW),
    Action("distribution", ("a",), "alpha", "Magnitudes of the weight: alpha, clipping, error.", VIEW),
    Action("log_scale", ("y",), "", "Histogram counts linear or logarithmic.", VIEW),
    Action("log_axis", ("x",), "", "Histogram values linear or logarithmic.", VIEW),
    Action("verdict", ("t",), "verdict", "The verdict with all its reasons.", VIEW),
    Action("lint", ("L",), "lint", "Is the file sound? What the rules of lint find.", VIEW),
    Action("zoom", ("z",), "zoom", "One pane over the whole screen, or all again.", VIEW),
    Action("theme", ("T",), "", "Next theme: dark, light, the terminal's 16 colours.", VIEW),
    Action("reload", ("ctrl+r",), "", "Open both models anew.", VIEW),
    Action("repaint", ("ctrl+l",), "", "Paint the screen anew.", VIEW),
    Action("runs", ("R",), "runs", "The runs: start, watch, cancel them.", VIEW),
    Action("copy_key", ("K",), "", "Copy the stored key of the selected scale.", OUT),
    Action("copy_value", ("V",), "", "Copy its value in A and B.", OUT),
    Action("copy_row", ("Y",), "", "Copy the selected row (OSC 52).", OUT),
    Action("copy_command", ("C",), "", "Copy the command line that prints this view.", OUT),
    Action("export", ("e",), "export", "Save this view: SVG, text, CSV, JSON, Markdown.", OUT),
    Action("palette", ("colon",), "", "All actions by name: the command palette.", OUT),
    Action("help", ("question_mark", "f1"), "help", "Keys and what they do.", OUT),
    Action("leave", ("ctrl+q",), "", "Leave the program, from any screen and dialog.", OUT),
    Action("suspend", ("ctrl+z",), "", "To the shell for a moment; fg comes back.", OUT),
    Action("quit", ("q",), "quit", "Leave. Nothing is changed, nothing is killed.", OUT),
)
_SHARED = {a.name: a for a in ACTIONS}
RUNS, LOG, CHOOSE = "Runs", "In the log", "What is shown"
RUN_ACTIONS = (
    *(_SHARED[n] for n in ("down", "up", "page_down", "page_up", "top", "bottom")),
    Action("scroll_left", ("h", "left"), "", "Scroll to the left where lines do not wrap.", MOVE, "left"),
    Action("scroll_right", ("l", "right"), "", "Scroll to the right where lines do not wrap.", MOVE, "right"),
    Action("show_run", ("enter",), "", "Into what is shown of the run; unfold a point.", MOVE, "open"),
    *(_SHARED[n] for n in ("next_pane", "previous_pane", "label_panes")),
    Action("pane_list", ("1",), "", "The list of runs.", MOVE, "pane 1"),
    Action("pane_view", ("2",), "", "What is shown of the run.", MOVE, "pane 2"),
    Action("next_run", ("right_parenthesis",), "", "Next run, from any pane.", MOVE),
    Action("previous_run", ("left_parenthesis",), "", "Previous run, from any pane.", MOVE),
    Action("start_run", ("exclamation_mark",), "start", "Start a run: a command, or a template.", RUNS),
    Action("cancel_run", ("X",), "cancel", "Cancel the run; asks first.", RUNS),
    Action("remove_run", ("D",), "", "Remove a run that ended: its log and its folder.", RUNS),
    Action("again", ("E",), "", "Start it again: the form, filled in as it was.", RUNS),
    Action("view_log", ("P",), "log", "What the command printed.", CHOOSE),
    Action("view_figures", ("H",), "", "An evaluation: KL, perplexity, agreement.", CHOOSE),
    Action("view_conclusions", ("t",), "says", "Conclusions of the log, accuracies in it.", CHOOSE, "verdict"),
    Action("view_points", ("v",), "points", "Points that the log names, and how they went.", CHOOSE, "view_values"),
    Action("view_spec", ("d",), "spec", "Command, folder, variables; what changed since.", CHOOSE, "view_detail"),
    Action("view_effect", ("Q",), "", "What took effect in the models that it made.", CHOOSE),
    Action("view_events", ("semicolon",), "events", "What was understood of the log, event by event.", CHOOSE),
    Action("view_gpus", ("u",), "gpus", "All GPUs with their processes.", CHOOSE),
    Action("log_scale", ("y",), "", "An evaluation: axes linear or logarithmic.", CHOOSE),
    Action("find", ("slash",), "find", "Find a text in the log; {close_runs} ends the search.", LOG),
    Action("next_match", ("n",), "", "Next match.", LOG, "next_finding"),
    Action("previous_match", ("N", "p"), "", "Previous match.", LOG, "previous_finding"),
    Action("follow", ("F",), "", "Follow the end of the log, or stay here.", LOG),
    Action("level", ("c",), "level", "All lines, warnings and errors, errors only.", LOG, "only_what_matters"),
    Action("wrap", ("Z",), "", "Long lines wrap, or go on to the right.", LOG),
    Action("timestamps", ("at",), "", "When each line came, as far as is known.", LOG),
    Action("jump", ("f", "ctrl+p"), "", "Fuzzy jump to any run.", RUNS),
    *(_SHARED[n] for n in ("zoom", "theme", "repaint")),
    Action("copy_command", ("C",), "", "Copy the command line of the run.", OUT),
    Action("copy_line", ("Y",), "", "Copy the line: of the list, or found in the log.", OUT, "copy_row"),
    Action("distribution", ("a",), "alpha", "A calibration: magnitudes, alpha, clipping, error.", CHOOSE),
    Action("explore", ("A",), "", "A calibration: every alpha of all its points.", CHOOSE),
    Action("compare_outputs", ("I",), "diff", "Compare the run's two models, or its one with A.", OUT),
    Action("open_output", ("O",), "", "Open the run's output as a model.", OUT),
    Action("apply_alpha", ("W",), "", "A calibration: put another alpha into a checkpoint.", OUT),
    *(_SHARED[n] for n in ("export", "palette")),
    Action("close_runs", ("escape",), "", "End a search; back to the models.", OUT, "close"),
    _SHARED["help"],
    *(_SHARED[n] for n in ("leave", "suspend")),
    Action("quit", ("q",), "back", "Back to the models; leave where there are none.", OUT),
)
ALPHA = "The cursor over alpha"
DISTRIBUTION_ACTIONS = (
    Action("alpha_down", ("h", "left"), "", "A step down: nine steps a decade of what is cut off.", ALPHA, "left"),
    Action("alpha_up", ("l", "right"), "alpha", "A step up.", ALPHA, "right"),
    Action("alpha_decade_down", ("left_curly_bracket", "shift+left"), "", "A decade down: 0.999 to 0.99.", ALPHA),
    Action("alpha_decade_up", ("right_curly_bracket", "shift+right"), "decade", "A decade up: 0.99 to 0.999.", ALPHA),
    Action("alpha_first", ("circumflex_accent",), "", "Alpha 0: the smallest magnitude.", ALPHA),
    Action("alpha_last", ("dollar_sign",), "", "Alpha 1: the largest magnitude.", ALPHA),
    Action("type_alpha", ("number_sign",), "type it", "Type an alpha.", ALPHA, "type_place"),
    Action("alpha_best", ("asterisk",), "optimum", "The nearest step to the scale of least error.", ALPHA),
    Action("bits", ("b",), "bits", "Codes of 8, 4, 5 or 6 bits.", VIEW),
    Action("whence", ("U",), "whence", "Which alpha made the stored scales.", VIEW),
    Action("zoom_in", ("plus", "equals_sign"), "closer", "Less of the axis: its right end, larger.", VIEW, "closer"),
    Action("zoom_out", ("minus",), "", "More of the axis.", VIEW, "farther"),
    _SHARED["log_scale"],
    Action("next_point", ("j", "down"), "next", "The next weight.", MOVE, "down"),
    Action("previous_point", ("k", "up"), "", "The previous weight.", MOVE, "up"),
    Action("top", ("g", "home"), "", "The first weight.", MOVE),
    Action("bottom", ("G", "end"), "", "The last weight.", MOVE),
    Action("jump", ("f", "ctrl+p"), "jump", "Fuzzy jump to any weight.", FIND),
    Action("label_panes", ("J",), "", "A letter on every alpha: the next key goes there.", MOVE),
    *(_SHARED[n] for n in ("theme", "repaint")),
    Action("copy_row", ("Y",), "", "Copy the numbers at the cursor (OSC 52).", OUT),
    Action("apply_alpha", ("W",), "", "Put this alpha of a calibration into a checkpoint.", OUT),
    *(_SHARED[n] for n in ("export", "palette")),
    Action("close", ("escape",), "", "Back to where you were.", OUT),
    _SHARED["help"],
    *(_SHARED[n] for n in ("leave", "suspend")),
    Action("quit", ("q",), "back", "Back to where you were.", OUT),
)
EXPLORE_ACTIONS = (
    Action("alpha_down", ("h", "left"), "", "A step of the grid down.", ALPHA, "left"),
    Action("alpha_up", ("l", "right"), "alpha", "A step of the grid up.", ALPHA, "right"),
    Action("alpha_decade_down", ("left_curly_bracket", "shift+left"), "", "A decade down: 0.999 to 0.99.", ALPHA),
    Action("alpha_decade_up", ("right_curly_bracket", "shift+right"), "decade", "A decade up: 0.99 to 0.999.", ALPHA),
    Action("thumb_down", ("comma", "ctrl+left"), "", "The usual alpha before: 0.9995, 0.999, 0.99 ...", ALPHA),
    Action("thumb_up", ("full_stop", "ctrl+right"), "usual", "The usual alpha after.", ALPHA),
    Action("alpha_first", ("circumflex_accent",), "", "Alpha 0.5.", ALPHA),
    Action("alpha_last", ("dollar_sign",), "", "Alpha 1.", ALPHA),
    Action("type_alpha", ("number_sign",), "type it", "Type an alpha: the point is exact there.", ALPHA, "type_place"),
    Action("alpha_best", ("asterisk",), "best", "The best alpha of this point.", ALPHA),
    Action("alpha_best_of_all", ("B",), "", "The best alpha for all points.", ALPHA),
    Action("rule", ("greater_than_sign",), "rule", "The next rule: ema, pooled, max, mean, mse ...", VIEW),
    Action("previous_rule", ("less_than_sign",), "", "The previous rule.", VIEW),
    Action("bits", ("b",), "bits", "Codes of 8 or 4 bits.", VIEW),
    Action("map", ("0",), "map", "The whole model, layers by kinds; or one point.", VIEW),
    Action("quantity", ("m",), "", "On the map: what is lost, or what is clipped.", VIEW, "measure"),
    Action("distribution", ("a",), "values", "The exact distribution of this point.", VIEW),
    _SHARED["zoom"],
    *(_SHARED[n] for n in ("down", "up", "page_down", "page_up", "top", "bottom")),
    *(_SHARED[n] for n in ("next_pane", "previous_pane", "label_panes")),
    Action("pane_list", ("1",), "", "The points.", MOVE, "pane 1"),
    Action("pane_view", ("2",), "", "The curve of the point, or the map.", MOVE, "pane 2"),
    Action("open", ("enter",), "", "Into the point: its exact distribution.", MOVE),
    Action("filter", ("slash",), "filter", "Filter: words of a point's name; {close} clears it.", FIND, "find"),
    Action("jump", ("f", "ctrl+p"), "", "Fuzzy jump to any point.", FIND),
    *(_SHARED[n] for n in ("sort", "reverse")),
    *(_SHARED[n] for n in ("theme", "repaint")),
    Action("copy_row", ("Y",), "", "Copy the numbers of this point (OSC 52).", OUT),
    _SHARED["copy_command"],
    *(_SHARED[n] for n in ("export", "palette")),
    Action("close", ("escape",), "", "Drop the filter; back to where you were.", OUT),
    _SHARED["help"],
    *(_SHARED[n] for n in ("leave", "suspend")),
    Action("quit", ("q",), "back", "Back to where you were.", OUT),
)
WHENCE_ACTIONS = (
    Action("next_point", ("j", "down"), "next", "The next point.", MOVE, "down"),
    Action("previous_point", ("k", "up"), "", "The point before.", MOVE, "up"),
    Action("page_down", ("pagedown", "ctrl+d", "space"), "more", "A page down.", MOVE),
    *(_SHARED[n] for n in ("page_up", "top", "bottom")),
    *(_SHARED[n] for n in ("theme", "repaint")),
    Action("copy_command", ("C",), "", "Copy the command lines that print this.", OUT),
    Action("apply_alpha", ("W",), "apply best", "Put the best alpha of the run into A.", OUT),
    *(_SHARED[n] for n in ("export", "palette")),
    Action("close", ("escape",), "", "Back to the distribution; what is computed ends.", OUT),
    _SHARED["help"],
    *(_SHARED[n] for n in ("leave", "suspend")),
    Action("quit", ("q",), "back", "Back to the distribution.", OUT),
)
FINDINGS = "Findings"
LINT_ACTIONS = (
    *(_SHARED[n] for n in ("down", "up", "page_down", "page_up", "top", "bottom")),
    Action("open", ("enter",), "open", "The places of a finding; of a place, its scale.", MOVE),
    Action("expand", ("l", "right"), "", "The places of a finding; the next expert.", MOVE, "right"),
    Action("collapse", ("h", "left"), "", "Without its places; the expert before.", MOVE, "left"),
    *(_SHARED[n] for n in ("next_pane", "previous_pane", "label_panes")),
    Action("pane_list", ("1",), "", "The findings.", MOVE, "pane 1"),
    Action("pane_view", ("2",), "rule", "Why it matters, and what to do.", MOVE, "pane 2"),
    Action("pane_engines", ("3",), "engines", "What engines do with the file when they load it.", MOVE, "pane 3"),
    Action("pane_experts", ("4",), "experts", "The experts of a mixture: layers by experts.", MOVE, "pane 4"),
    Action("next_finding", ("n",), "next", "The next finding; of experts, the next one at fault.", FINDINGS),
    Action("previous_finding", ("N", "p"), "", "The finding before.", FINDINGS),
    Action("largest_finding", ("M",), "", "The worst finding.", FINDINGS),
    Action("level", ("c",), "level", "All findings, without notes, errors only.", FINDINGS, "only_what_matters"),
    Action("fold_all", ("minus",), "", "No places.", FINDINGS, "farther"),
    Action("fold_one_more", ("plus", "equals_sign"), "", "The places of all findings.", FINDINGS, "closer"),
    Action("jump", ("f", "ctrl+p"), "jump", "Fuzzy jump to the scale of any place.", FINDINGS),
    *(_SHARED[n] for n in ("zoom", "theme", "repaint")),
    Action("reload", ("ctrl+r",), "", "Look again, at all scales and codes.", VIEW),
    Action("copy_key", ("K",), "", "Copy the name of the place.", OUT),
    Action("copy_row", ("Y",), "", "Copy the line (OSC 52).", OUT),
    Action("copy_command", ("C",), "", "Copy the command line that prints this.", OUT),
    *(_SHARED[n] for n in ("export", "palette")),
    Action("close", ("escape",), "", "Back to the models; what is read ends.", OUT),
    _SHARED["help"],
    *(_SHARED[n] for n in ("leave", "suspend")),
    Action("quit", ("q",), "back", "Back to the models.", OUT),
)
SCREENS = {
    "models": ACTIONS,
    "runs": RUN_ACTIONS,
    "distribution": DISTRIBUTION_ACTIONS,
    "alphas": EXPLORE_ACTIONS,
    "whence": WHENCE_ACTIONS,
    "lint": LINT_ACTIONS,
}
ALL_ACTIONS = tuple(SCREENS.values())
BY_NAME = {a.name: a for actions in reversed(ALL_ACTIONS) for a in actions}


def actions_of(screen: Screen[Any]) -> tuple[Action, ...]:
    """The actions that a screen has."""
    return getattr(screen, "actions", ACTIONS)


def bindings(actions: tuple[Action, ...] = ACTIONS) -> list[Binding]:
    """Textual bindings of all actions; their ids are what the config file remaps.

    With priority, so that a key is served before the next one is looked at: over a slow line `/` and the letters after
    it arrive together, and without it the letters would be commands.
    """
    return [
        Binding(",".join(a.keys), f"act({a.name!r})", a.label or a.name, id=a.name, show=bool(a.label), priority=True)
        for a in actions
    ]


def keys_now(screen: Screen[Any]) -> dict[str, list[str]]:
    """Action name to the keys that are bound to it now, as the config file left them. No key: another action has it."""
    bound = screen._bindings.copy()
    bound.apply_keymap(screen.app._keymap)
    found: dict[str, list[str]] = {a.name: [] for a in actions_of(screen)}
    for key, several in bound.key_to_bindings.items():
        for binding in several[:1]:  # of two on one key, the first has it
            if binding.id in found:
                found[binding.id].append(key)
    return found


_SHOWN = {
    "slash": "/",
    "colon": ":",
    "number_sign": "#",
    "percent_sign": "%",
    "question_mark": "?",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "minus": "-",
    "plus": "+",
    "equals_sign": "=",
    "comma": ",",
    "full_stop": ".",
    "dollar_sign": "$",
    "circumflex_accent": "^",
    "asterisk": "*",
    "at": "@",
    "semicolon": ";",
    "exclamation_mark": "!",
    "quotation_mark": '"',
    "apostrophe": "'",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "left_parenthesis": "(",
    "right_parenthesis": ")",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "pagedown": "pgdn",
    "pageup": "pgup",
}


def key_text(key: str) -> str:
    """A key as people write it."""
    return _SHOWN.get(key, key)
