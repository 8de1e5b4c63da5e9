"""Reads a W&B run back from its `.wandb` file: protobuf records in LevelDB's log format."""

import json
import struct
import time

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768
FIRST, LAST, FULL = 2, 4, 1


def records(path):
    """Every record of the file, in order."""
    content = path.read_bytes()
    assert content[:4] in (b":W&B", b"")  # nothing yet
    at, parts, found = 7, b"", []
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:  # the rest of a block is padding
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        at += 7
        if at + length > len(content):  # still being written
            break
        parts = (
            content[at : at + length]
            if kind in (FULL, FIRST)
            else parts + content[at : at + length]
        )
        at += length
        if kind in (FULL, LAST):
            found.append(Record.FromString(parts))
    return found


def _named(items):
    """Plain values from a history's, configuration's or summary's items, nested where they are."""
    found = {}
    for item in items:
        *parents, name = item.nested_key or [item.key]
        inner = found
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[name] = json.loads(item.value_json)
    return found


def read(run_dir, patience=20.0):
    """What the only run holds, when it is all there: W&B's own process writes it a moment later."""
    given_up = time.monotonic() + patience
    while not (found := _read(run_dir))["exits"] and time.monotonic() < given_up:
        time.sleep(0.05)
    assert found["exits"], "the run was never finished"
    return found


def _read(run_dir):
    """Config, history rows, summary, artifacts (type: names of their files) of the only run."""
    (folder,) = run_dir.glob("wandb/offline-run-*")
    config, history, summary, artifacts, exits = {}, [], {}, [], []
    for record in [record for path in folder.glob("run-*.wandb") for record in records(path)]:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            config.update(_named(record.run.config.update))
        elif kind == "config":
            config.update(_named(record.config.update))
        elif kind == "history":
            history.append(_named(record.history.item))
        elif kind == "summary":
            summary.update(_named(record.summary.update))
        elif kind == "artifact":
            artifacts.append(record.artifact)
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            artifacts.append(record.request.log_artifact.artifact)
        elif kind == "exit":
            exits.append(record.exit.exit_code)
    return {
        "config": config,
        "history": history,
        "summary": summary,
        "artifacts": artifacts,
        "files": folder / "files",
        "exits": exits,
    }
