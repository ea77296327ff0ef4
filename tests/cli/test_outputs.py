"""What is written where: never over what is being read, and never half in silence."""
import json
import struct
import unittest

from support import MODEL, Case, nibble


def split_gguf(path, folder):
    """The parts of a GGUF file as llama.cpp's splitter makes them: all metadata in the first, tensors half and half."""
    data = path.read_bytes()
    version, tensors, entries = struct.unpack_from("<IQQ", data, 4)
    at = 24
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def string():
        nonlocal at
        size = struct.unpack_from("<Q", data, at)[0]
        at += 8 + size
        return data[at - size:at]

    def value(kind):
        nonlocal at
        if kind == 8:
            string()
        elif kind == 9:
            inner, count = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(count):
                value(inner)
        else:
            at += sizes[kind]

    begin, alignment = at, 32
    for _ in range(entries):
        key = string()
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        place = at
        value(kind)
        if key == b"general.alignment":
            alignment = struct.unpack_from("<I", data, place)[0]
    metadata, infos = data[begin:at], []
    for _ in range(tensors):
        start = at
        string()
        dims = struct.unpack_from("<I", data, at)[0]
        at += 4 + 8 * dims + 4
        infos.append((data[start:at], struct.unpack_from("<Q", data, at)[0]))
        at += 8
    first = (at + alignment - 1) // alignment * alignment
    ends = [offset for _, offset in infos[1:]] + [len(data) - first]

    def number(key, kind, form, n):
        return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + struct.pack(form, n)

    parts = []
    for part, mine in enumerate((range(tensors // 2), range(tensors // 2, tensors))):
        own = metadata if part == 0 else number(b"general.alignment", 4, "<I", alignment)
        split = (number(b"split.no", 2, "<H", part) + number(b"split.count", 2, "<H", 2) + number(b"split.tensors.count", 5, "<i", tensors))
        head, body = b"", b""
        for i in mine:
            head += infos[i][0] + struct.pack("<Q", len(body))
            body += data[first + infos[i][1]:first + ends[i]]
            body += bytes(-len(body) % alignment)
        text = b"GGUF" + struct.pack("<IQQ", version, len(mine), (entries if part == 0 else 1) + 3) + own + split + head
        parts.append(folder / f"model-{part + 1:05}-of-00002.gguf")
        parts[-1].write_bytes(text + bytes(-len(text) % alignment) + body)
    return parts


class Inputs(Case):
    def test_no_part_of_a_split_model_is_replaced(self):
        self.accept("convert", "builtin", "--format", "gguf", "-o", self.dir / "whole.gguf")
        parts = split_gguf(self.dir / "whole.gguf", self.dir)
        before = [part.read_bytes() for part in parts]
        tables = [json.loads(self.accept("inspect", path, "--tensors", "--hash", "--json", "-")) for path in (self.dir / "whole.gguf", parts[0])]
        self.assertEqual(*[[(t["name"], t["sha256"]) for t in table["tensors"]] for table in tables])
        for part in parts:
            for job in (["convert", parts[0]], ["quantize", parts[0], "--method", "rtn:group=32"]):
                self.refuse(2, [*job, "-o", part], part.name, "destroy")
        self.assertEqual([part.read_bytes() for part in parts], before)
        # A stranger beside them may be.
        other = self.dir / "model-00003-of-00003.gguf"
        other.write_bytes(before[0])
        self.accept("convert", parts[0], "-o", other)

    def test_nor_a_model_with_an_adapter(self):
        file = self.dir / "model.safetensors"
        self.accept("quantize", "builtin", "--method", "fp32", "-o", file)
        adapter = self.dir / "adapter"
        adapter.mkdir()
        hidden = json.loads((MODEL / "config.json").read_text())["hidden_size"]
        header, data = {}, b""
        for half, shape in (("A", [1, hidden]), ("B", [hidden, 1])):
            header[f"base_model.model.model.layers.0.self_attn.q_proj.lora_{half}.weight"] = {
                "dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * hidden]}
            data += struct.pack("<f", 0.01) * hidden
        text = json.dumps(header).encode()
        (adapter / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
        (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}))
        before = file.read_bytes()
        job = ["quantize", file, "--lora", adapter, "--method", "rtn:group=32"]
        self.refuse(2, [*job, "-o", file], "destroy")
        self.assertEqual(file.read_bytes(), before)
        self.accept(*job, "-o", self.dir / "other")


class Log(Case):
    def test_a_log_that_cannot_be_written_stops_the_job_at_once(self):
        job = ["quantize", "builtin", "--method", "rtn:group=64", "-o", self.dir / "out", "--log"]
        self.refuse(4, [*job, "/dev/full"], "/dev/full", "No space left")
        self.refuse(3, [*job, self.dir / "none" / "log"], "log", "No such file")
        self.refuse(3, [*job, self.dir], str(self.dir), "directory")
        self.assertEqual(list(self.dir.iterdir()), [])
        self.accept(*job, self.dir / "log")
        self.assertEqual(json.loads((self.dir / "log").read_text().splitlines()[-1])["event"], "done")


class Directories(Case):
    """A directory where a file is read: bad input, named."""

    def test_files(self):
        folder = self.dir / "folder"
        folder.mkdir()
        adapter = self.dir / "adapter"
        adapter.mkdir()
        (adapter / "adapter_config.json").mkdir()
        quantize = ["quantize", "builtin", "-o", self.dir / "out", "--method"]
        jobs = [["detokenize", "builtin", "--json-ids"], ["run", "builtin", "-p", "x", "--chat", "--tools"],
                ["run", "builtin", "-p", "x", "--session-load"], [*quantize, "gptq", "--calib"],
                ["doctor", "builtin", "--calib"], ["compare", "builtin", "builtin", "--text"], ["perplexity", "builtin", "--text"],
                ["sweep", "builtin", "--recipes", "rtn", "--text"], ["sweep", "builtin", "--recipes"],
                ["eval", "builtin", "--tasks"], ["eval", "builtin", "--tasks", "prose_choice", "--verdicts"],
                [*quantize, "rtn", "--measured"], ["run", "builtin", "-p", "x", "--draft"]]
        known = "\n".join(nibble(name, "--help")[1] for name in sorted({str(job[0]) for job in jobs}))
        tried = 0
        for job in jobs:
            if job[-1] not in known:
                continue  # not an option of this command
            with self.subTest(job=job):
                err = self.refuse(3, [*job, folder])
                self.assertIn("folder", err)
                tried += 1
        self.assertGreater(tried, 9)
        self.refuse(3, [*quantize, "rtn", "--lora", adapter], "adapter_config.json", "directory")
        self.assertFalse((self.dir / "out").exists())


if __name__ == "__main__":
    unittest.main()
