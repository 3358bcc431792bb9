"""A Meltano project with three pairs: ours, a stock one that sends nothing, and `cat` into `cat`.

Each plugin declares the settings that it is given and no others, as README shows it for one's own project: Meltano
spends some 6 ms of each start on each setting that is declared. Ours are defined as in this repository's meltano.yml.
"""

from __future__ import annotations

import json
import typing as t

import yaml

from benchmarks.processes import BIN, PYTHON, ROOT, Command, Ended, Watch, run

if t.TYPE_CHECKING:
    from pathlib import Path

OURS = ("tap-coolafile", "target-cooladata")
STOCK = ("tap-stock", "target-stock")
CAT = ("tap-cat", "target-cat")
_WORDS = {
    "bin/tap-coolafile": "tap",
    "bin/target-cooladata": "target",
    "peers.stock_tap": "stock tap",
    "peers.stock_target": "stock target",
}


class Project:
    """A project in a folder.

    Args:
        folder: where to make it.
        settings: of our two plugins, by name.
        rows: what the stock tap reads.
        messages: what `cat` reads.

    Attributes:
        peaks: the peak memory of each plugin in MB, over all runs so far.
    """

    def __init__(self, folder: Path, settings: dict[str, dict[str, t.Any]], rows: Path, messages: Path) -> None:
        self._folder = folder
        self._runs = 0
        self.peaks: dict[str, float] = {}
        folder.mkdir(parents=True)
        declared = yaml.safe_load((ROOT / "meltano.yml").read_text())["plugins"]
        extractors = [plugin for plugin in declared["extractors"] if plugin["name"] == OURS[0]]
        loaders = [plugin for plugin in declared["loaders"] if plugin["name"] == OURS[1]]
        for plugin in (*extractors, *loaders):
            del plugin["pip_url"]
            given = settings[plugin["name"]]
            declared_settings = [setting for setting in plugin["settings"] if setting["name"] in given]
            plugin |= {"executable": str(BIN / plugin["name"]), "config": given, "settings": declared_settings}
        taps = {STOCK[0]: f"exec {PYTHON} -m benchmarks.peers.stock_tap", CAT[0]: f"exec cat {messages} #"}
        targets = {STOCK[1]: f"exec {PYTHON} -m benchmarks.peers.stock_target", CAT[1]: "exec cat >/dev/null #"}
        extractors += [self._plugin(name, command, config={"path": str(rows)}) for name, command in taps.items()]
        loaders += [self._plugin(name, command) for name, command in targets.items()]
        extractors[1]["capabilities"] = ["catalog", "discover", "state"]
        extractors[1]["settings"] = [{"name": "path"}]
        document = {
            "requires_meltano": ">=4.4",
            "project_id": "benchmarks",
            "send_anonymous_usage_stats": False,
            "default_environment": "benchmark",
            "environments": [{"name": "benchmark"}],
            "plugins": {"extractors": extractors, "loaders": loaders},
        }
        (folder / "meltano.yml").write_text(json.dumps(document))

    def run(self, pair: tuple[str, str]) -> Ended:
        """Run a pair from no state."""
        self._runs += 1
        command: Command = [BIN / "meltano", "run", f"--state-id-suffix=run-{self._runs}", *pair]
        with Watch(*_WORDS) as watch:
            ended = run(command, folder=self._folder)
        for word, peak in watch.peaks.items():
            if peak:
                self.peaks[_WORDS[word]] = max(self.peaks.get(_WORDS[word], 0.0), peak)
        return ended.require_success()

    def _plugin(self, name: str, command: str, **more: t.Any) -> dict[str, t.Any]:
        script = self._folder / f"{name}.sh"
        # Meltano takes PYTHONPATH out of the environment of plugins.
        script.write_text(f'#!/bin/sh\nexport PYTHONPATH={ROOT}\n{command} "$@"\n')
        script.chmod(0o755)
        namespace = name.replace("-", "_")
        return {"name": name, "namespace": namespace, "executable": str(script), "capabilities": [], **more}
