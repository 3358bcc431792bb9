"""A process killed with -9 at any moment, and run again from the last state that a target kept."""

from __future__ import annotations

import gzip
import random
import subprocess
import typing as t

import pytest

from tests.tap.conftest import Run, Workplace, event

if t.TYPE_CHECKING:
    from tests.object_server import ObjectServer

FILES = 12
ROWS = 4000


def contents() -> dict[str, bytes]:
    """Files of several sizes, every third compressed, with blank and broken lines among the rows."""
    found: dict[str, bytes] = {}
    for number in range(FILES):
        rows = [event(n, text="é" * (n % 50)) for n in range(number * ROWS, (number + 1) * ROWS)]
        rows[ROWS // 2 : ROWS // 2] = ["", "{broken"]
        data = "\n".join(rows).encode()
        name = f"{number:02}.json"
        found |= {f"{name}.gz": gzip.compress(data, 1)} if number % 3 == 0 else {name: data}
    return found


def killed(place: Workplace, rng: random.Random, state: t.Any, **config: t.Any) -> tuple[Run, bool]:
    """Run the tap, kill it after a random number of bytes; return what a target got, and whether it came to its end."""
    command = place.command(state=state, **config)
    with (place.folder / "log").open("ab") as log:
        tap = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=place.folder, bufsize=0)
    assert tap.stdout is not None
    enough, got = rng.randrange(3_000_000), b""
    while len(got) < enough and (data := tap.stdout.read(rng.randrange(1, 60_000))):
        got += data
    tap.kill()
    got += tap.stdout.read()
    tap.stdout.close()
    ended = tap.wait() == 0
    return Run(got[: got.rfind(b"\n") + 1]), ended


def check(place: Workplace, seed: int, **config: t.Any) -> None:
    rng = random.Random(seed)
    config |= {"allow_compressed": True, "state_interval_rows": 700}
    acknowledged: list[str] = []
    state: t.Any = None
    kills, ended = 0, False
    while not ended and kills < 8:
        run, ended = killed(place, rng, state, **config)
        kills += not ended
        states = [at for at, message in enumerate(run.messages) if message["type"] == "STATE"]
        if states:
            # What came after the last state may come again; what came before it may not.
            acknowledged += Run(b"\n".join(run.lines[: states[-1]])).users
            state = run.state
    if not ended:
        acknowledged += place.run(state=state, **config).users
    assert kills > 0
    assert acknowledged == [f"u{n}" for n in range(FILES * ROWS)]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_over_local_files_killed_again_and_again_misses_and_repeats_nothing(place: Workplace, seed: int) -> None:
    for name, data in contents().items():
        (place.data / name).write_bytes(data)
    check(place, seed)


def test_a_run_over_s3_killed_again_and_again_misses_and_repeats_nothing(
    place: Workplace, objects: ObjectServer
) -> None:
    objects.put("kills", contents())
    check(place, 3, uris="s3://kills/", **objects.settings())
