"""Mutations of bytes and of nested values, each a function of a random generator."""

import copy
import random
import struct
from typing import Any

_WORDS = [
    *("../../../etc/passwd", "/dev/zero", "/etc/passwd", "~root", "", " ", "\0", "a\nb", "\u202e"),
    *("<script>alert(1)</script>", "'\"><img src=x onerror=alert(1)>", "{{7*7}}", "%s%n", "{0}"),
    *("[", "*", "nan", "inf", "-inf", "null", "true", "1e999", "0x10", "1_000", "2026-01-01"),
    *("x" * 10_000, "é" * 300, "\ud83d\ude00", "!!python/object/apply:os.system ['id']"),
]
_NUMBERS = [
    *(0, 1, -1, 2, 3, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**63, -(2**63)),
    *(2**64, 10**30, 10**400, 0.0, -0.0, 0.5, 1e-300, 1e300, 5e-324),
    *(float("nan"), float("inf"), float("-inf")),
]
_INTERESTING = [b"\0", b"\xff", b"\x7f", b"\x80", b"\n", b"\r\n", b"\0\0\0\0", b"\xff\xff\xff\xff"]
_LAYOUTS = ["<b", "<h", ">h", "<i", ">i", "<q", "<f", ">f", "<d"]
_EXTREMES = [0, 1, -1, 2, 127, -128, 348, 1024]


def mutate_bytes(content: bytes, random: random.Random, head: int = 512) -> bytes:
    """Change a few places, mostly within the first `head` bytes; sometimes cut or extend."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 5)):
        limit = len(changed) if random.random() < 0.3 else min(len(changed), head)
        place = random.randrange(max(1, limit))
        _change_place(changed, place, random)
    kind = random.random()
    if kind < 0.1:
        return bytes(changed[: random.randrange(len(changed) + 1)])
    if kind < 0.15:
        return bytes(changed) + random.randbytes(random.randrange(200))
    return bytes(changed)


def _change_place(changed: bytearray, place: int, random: random.Random) -> None:
    kind = random.randrange(6)
    if kind == 0 and changed:
        changed[min(place, len(changed) - 1)] ^= 1 << random.randrange(8)
    elif kind == 1:
        value = random.choice(_INTERESTING)
        changed[place : place + len(value)] = value
    elif kind == 2:
        layout = random.choice(_LAYOUTS)
        value = random.choice(_EXTREMES)
        wanted = float(value) if layout[1] in "fd" else max(-128, min(127, value))
        packed = struct.pack(layout, wanted)
        changed[place : place + len(packed)] = packed
    elif kind == 3:
        length = random.randrange(1, 40)
        changed[place:place] = changed[place : place + length]
    elif kind == 4:
        del changed[place : place + random.randrange(1, 20)]
    else:
        changed[place:place] = random.choice(_WORDS)[:200].encode("utf-8", "surrogatepass")


def mutate_text(text: str, random: random.Random) -> bytes:
    """Change bytes, or whole lines, of a text file."""
    if random.random() < 0.5:
        return mutate_bytes(text.encode(), random, len(text))
    lines = text.splitlines(keepends=True)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(lines))
        kind = random.randrange(5)
        if kind == 0:
            lines.insert(place, random.choice(lines))
        elif kind == 1 and len(lines) > 1:
            del lines[place]
        elif kind == 2:
            lines[place] = " " * random.randrange(9) + lines[place]
        elif kind == 3:
            separator = random.choice([":", ",", "=", ";"])
            head, mark, _ = lines[place].partition(separator)
            value = random.choice(random.choice([_WORDS, _NUMBERS]))
            lines[place] = f"{head}{mark} {value}\n" if mark else f"{value}\n"
        else:
            other = random.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
    return "".join(lines).encode("utf-8", "surrogatepass")


def mutate_tree(values: Any, random: random.Random) -> Any:
    """Change a few values or keys of nested dictionaries and lists, in a copy."""
    changed = copy.deepcopy(values)
    for _ in range(random.randint(1, 3)):
        holders = [each for each in _holders(changed) if each]
        if not holders:
            return changed
        _change_holder(random.choice(holders), random)
    return changed


def _holders(values: Any) -> list[Any]:
    """All dictionaries and lists in nested values."""
    found, waiting = [], [values]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list):
            found.append(each)
            waiting += each.values() if isinstance(each, dict) else each
    return found


def _change_holder(holder: Any, random: random.Random) -> None:
    key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
    kind = random.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = [holder[key]] * random.choice([0, 1, 2, 300])
    elif kind == 2:
        for _ in range(random.choice([1, 5, 50, 400])):
            holder[key] = [holder[key]] if random.random() < 0.5 else {"a": holder[key]}
    elif kind == 3 and isinstance(holder, dict):
        holder[random.choice([*_WORDS, str(key).upper(), f"{key}s"])[:300]] = holder[key]
    elif kind == 4:
        holder[key] = random.choice([None, True, False, [], {}, [[]]])
    elif kind == 5:
        holder[key] = random.choice(_WORDS)
    else:
        holder[key] = random.choice(_NUMBERS)
