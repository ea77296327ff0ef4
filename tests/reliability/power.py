#!/usr/bin/env python3
"""Cuts the power at every point of a job: a layer loaded before libc (power.c) records what the job does to files, and for each
prefix of the record this works out what a disk could hold afterwards:

  strict   only what was synced: contents by fsync of the file, names by fsync of the directory
  names    every name, but of the contents only what was synced (journalled metadata)
  torn     every name, and of the contents a random part of what was not synced
  all      everything (the process died, the machine did not)

Under the final name there must then be nothing, the old file, or the whole new one; at the end of the job, the new one even in the
strict case. For some of those disks the job is done again and must end with the same bytes.

usage: power.py LAYER.so [--again N] [--seed N] [SCENARIO...]
"""
import argparse
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

from scenarios import SCENARIOS, prepare


class Node:
    """A file or a directory: as the process sees it, and as the disk has it for sure."""

    def __init__(self, directory):
        self.directory = directory
        self.seen, self.sure = ({}, {}) if directory else (bytearray(), b"")
        self.pending = []  # of a file: (offset, data) or (None, length), since the last sync

    def write(self, offset, data):
        if len(self.seen) < offset + len(data):
            self.seen.extend(bytes(offset + len(data) - len(self.seen)))
        self.seen[offset:offset + len(data)] = data
        self.pending.append((offset, data))

    def truncate(self, length):
        resize(self.seen, length)
        self.pending.append((None, length))

    def sync(self):
        self.sure = dict(self.seen) if self.directory else bytes(self.seen)
        self.pending = []


def resize(content, length):
    del content[length:]
    content.extend(bytes(length - len(content)))


class Disk:
    def __init__(self, root, before):
        self.root, self.top, self.inodes = root, Node(True), {}
        for name, content in before.items():
            if content is not None:
                node = Node(False)
                node.write(0, content)
                node.sync()
                self.top.seen[name] = node
        self.top.sync()

    def find(self, path):
        """(directory node, name) of an absolute path."""
        parts = pathlib.PurePath(path).relative_to(self.root).parts
        node = self.top
        for part in parts[:-1]:
            node = node.seen[part]
        return node, parts[-1] if parts else ""

    def apply(self, op):
        kind, *fields = op
        if kind == "C":
            folder, name = self.find(fields[1])
            folder.seen[name] = self.inodes[fields[0]] = Node(False)
        elif kind == "M":
            folder, name = self.find(fields[0])
            folder.seen[name] = Node(True)
        elif kind == "R":
            source, name = self.find(fields[0])
            target, new = self.find(fields[1])
            target.seen[new] = source.seen.pop(name)
        elif kind == "U":
            folder, name = self.find(fields[0])
            folder.seen.pop(name, None)
        elif kind == "D":
            folder, name = self.find(fields[0])
            (folder.seen[name] if name else folder).sync()
        else:
            node = self.inodes.setdefault(fields[0], Node(False))
            if kind == "W":
                node.write(fields[1], fields[2])
            elif kind == "T":
                node.truncate(fields[1])
            else:
                node.sync()

    def after(self, case, chance, node=None):
        """The tree that a restart would find."""
        node = node or self.top
        if node.directory:
            names = node.sure if case == "strict" else node.seen
            return {name: self.after(case, chance, child) for name, child in names.items()}
        if case == "all":
            return bytes(node.seen)
        content = bytearray(node.sure)
        if case == "torn":
            for offset, data in node.pending:
                if chance.random() < 0.5:
                    continue
                if offset is None:
                    resize(content, data)
                else:
                    resize(content, max(len(content), offset + len(data)))
                    content[offset:offset + len(data)] = data
        return bytes(content)


def read_log(path):
    data, at = path.read_bytes(), 0

    def number():
        nonlocal at
        at += 8
        return struct.unpack_from("<q", data, at - 8)[0]

    def block():
        nonlocal at
        size = struct.unpack_from("<I", data, at)[0]
        at += 4 + size
        return data[at - size:at]

    def text():
        return os.fsdecode(block())

    shapes = {"C": (number, text), "M": (text,), "W": (number, number, block), "T": (number, number), "S": (number,), "D": (text,),
              "R": (text, text), "U": (text,)}
    while at < len(data):
        kind = chr(data[at])
        at += 1
        yield (kind, *(read() for read in shapes[kind]))


def put_tree(folder, content):
    for name, each in content.items():
        if isinstance(each, dict):
            (folder / name).mkdir()
            put_tree(folder / name, each)
        else:
            (folder / name).write_bytes(each)


def run(scenario, layer, inputs, work, again, chance, replace):
    folder, log = work / "recorded", work / "log"
    folder.mkdir()
    before = {name: b"what was there before" if replace else None for name in scenario.outputs}
    put_tree(folder, {name: content for name, content in before.items() if content is not None})
    environment = dict(os.environ, LD_PRELOAD=str(layer), NIBBLE_POWER_ROOT=str(folder), NIBBLE_POWER_LOG=str(log))
    done = subprocess.run(scenario.command(folder, inputs), capture_output=True, env=environment, timeout=600)
    if done.returncode != 0:
        sys.exit(f"{scenario.name}: status {done.returncode}: {done.stderr.decode()}")
    wanted = scenario.found(folder)
    ops = list(read_log(log))
    root = os.path.realpath(folder)
    if not any(op[0] == "R" for op in ops):
        sys.exit(f"{scenario.name}: the layer recorded no rename: nothing was tested")
    disk, states, chosen = Disk(root, before), 0, sorted(chance.sample(range(len(ops)), min(again, len(ops))))
    for i in range(len(ops) + 1):
        for case in ("strict", "names", "torn", "all"):
            found = disk.after(case, chance)
            states += 1
            for name in scenario.outputs:
                seen = found.get(name)
                if seen != before[name] and seen != wanted[name]:
                    sys.exit(f"{scenario.name}: power lost after call {i} of {len(ops)} ({ops[i - 1][0]} {ops[i - 1][1]}), disk '{case}': "
                             f"{name} is half-written: {len(seen)} bytes or entries")
                if i == len(ops) and seen != wanted[name]:
                    sys.exit(f"{scenario.name}: power lost when the job had ended, disk '{case}': {name} is not there")
            if i in chosen and case != "all":
                place = work / f"again{i}{case}"
                place.mkdir()
                put_tree(place, {name: each for name, each in found.items() if not isinstance(each, dict) or name not in scenario.outputs})
                scenario.run(place, inputs)
                if not scenario.same(scenario.found(place), wanted):
                    sys.exit(f"{scenario.name}: power lost after call {i} of {len(ops)}, disk '{case}': other bytes when done again")
        if i < len(ops):
            disk.apply(ops[i])
    print(f"{scenario.name}{', replacing an older output' if replace else ''}: {len(ops)} calls, {states} disks, "
          f"{3 * len(chosen)} of them gone on from", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("layer", type=pathlib.Path)
    parser.add_argument("--again", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("scenarios", nargs="*", default=[])
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory(prefix="nibble-power-") as name:
        inputs = pathlib.Path(name)
        prepare(inputs)
        for scenario in SCENARIOS:
            if args.scenarios and scenario.name not in args.scenarios:
                continue
            for replace in (False, True):
                if replace and scenario.name == "export":
                    continue  # a directory that is not empty is not replaced
                work = inputs / f"{scenario.name}{replace}"
                work.mkdir()
                run(scenario, args.layer.resolve(), inputs, work, args.again, random.Random(args.seed), replace)


if __name__ == "__main__":
    main()
