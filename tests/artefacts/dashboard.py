"""The dashboard, read by Grafana's own SDK: what its types do not know is lost on the way, and told.

Usage: dashboard.py
"""

import copy
import json
import pathlib
import re

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

BOARD = pathlib.Path("charts/crossfade/files/dashboards/crossfade.json")


def lost(ours, theirs, at=""):
    """Paths of what is not in `theirs` as it is in `ours`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key not in theirs:
                yield f"{at}/{key}"
            else:
                yield from lost(value, theirs[key], f"{at}/{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (a, b) in enumerate(zip(ours, theirs)):
            yield from lost(a, b, f"{at}/{index}")
    elif ours != theirs:
        yield at


def problems(board):
    try:
        read = dashboard.Dashboard.from_json(copy.deepcopy(board))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [repr(error)]
    found = list(lost(board, json.loads(JSONEncoder(sort_keys=True).encode(read))))
    # Grafana writes a variable's `definition` beside its query; the SDK's model has only the query.
    found = [path for path in found if not re.fullmatch(r"/templating/list/\d+/definition", path)]
    taken = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            if cell[0] >= 24 or cell in taken:
                found.append(f"{panel['title']}: over {taken.get(cell, 'the edge')}")
                break
            taken[cell] = panel["title"]
    return found


def main():
    plugins.register_default_plugins()
    board = json.loads(BOARD.read_text())
    found = problems(board)
    if found:
        raise SystemExit(f"BROKEN  {BOARD}: {found}")
    timeseries = next(i for i, panel in enumerate(board["panels"]) if panel["type"] == "timeseries")
    sabotages = [
        lambda made: made["panels"][timeseries].update(titel="a"),
        lambda made: made["panels"][timeseries]["targets"][0].update(exprr="up"),
        lambda made: made["panels"][timeseries].update(targets=1),
        lambda made: made["panels"][1]["gridPos"].update(made["panels"][0]["gridPos"]),
        lambda made: made.update(tittle="a"),
    ]
    for number, change in enumerate(sabotages):
        made = copy.deepcopy(board)
        change(made)
        if not problems(made):
            raise SystemExit(f"BROKEN  sabotage {number} of the dashboard goes unseen")
    print(f"ok  Grafana's SDK reads the dashboard and loses nothing of its {len(board['panels'])} panels; {len(sabotages)} sabotages are found", flush=True)


main()
