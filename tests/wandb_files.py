"""What wandb has written on disk, read back."""

import json
import struct

from waiting import until


def records(path):
    """The records of a .wandb file: a LevelDB log of protobuf messages, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, message = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(message)
            message = b""


def plain(items):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def shown(folder, run_id, ended=True):
    """What the newest wandb run of an MLflow run says; one that has ended is waited for.

    The service of wandb says that a run is finished before it has written the last of it.
    """
    if ended:
        until(lambda: _shown(folder, run_id)["exit"] is not None)
    return _shown(folder, run_id)


def _shown(folder, run_id):
    newest = max((folder / "wandb").glob(f"*-{run_id}*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    found = {"config": {}, "summary": {}, "rows": [], "exit": None, "files": newest.parent / "files"}
    for record in records(newest):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
        elif kind == "config":
            found["config"] |= plain(record.config.update)
        elif kind == "summary":
            found["summary"] |= plain(record.summary.update)
        elif kind == "history":
            found["rows"].append({k: v for k, v in plain(record.history.item).items() if not k.startswith("_")})
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def curve(found, name):
    return [(row["step"], row[name]) for row in found["rows"] if name in row]
