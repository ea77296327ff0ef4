"""nibble.hub against a server on this machine that speaks the few calls of the Hugging Face hub: no network.

    pull_and_push.py LIBRARY MODEL    LIBRARY: libnibble.so; MODEL: a small model directory

Needs huggingface_hub (exit status 77 without it).
"""
import base64
import hashlib
import http.server
import json
import os
import pathlib
import sys
import tempfile
import threading
import unittest
import urllib.parse

LIBRARY, MODEL = sys.argv[1], pathlib.Path(sys.argv[2])
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """repositories: name -> {path: bytes}."""
    repositories = {}
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        for name, files in self.repositories.items():
            if path.startswith(f"/api/models/{name}/tree/"):
                return self.answer(200, [{"type": "file", "path": p, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                                         for p, d in files.items()])
            if path.startswith(f"/api/models/{name}"):
                return self.answer(200, {"id": name, "modelId": name, "sha": COMMIT, "private": False, "tags": [],
                                         "siblings": [{"rfilename": p} for p in files]})
            if path.startswith(f"/{name}/resolve/"):
                file = path.removeprefix(f"/{name}/resolve/").split("/", 1)[1]
                if file not in files:
                    return self.answer(404, {"error": "Entry not found"}, [("X-Error-Code", "EntryNotFound")])
                data = files[file]
                return self.answer(200, data, [("ETag", f'"{hashlib.sha1(data).hexdigest()}"'), ("X-Repo-Commit", COMMIT)])
        self.answer(404, {"error": "Repository not found"}, [("X-Error-Code", "RepoNotFound")])

    def do_POST(self):
        path, data = urllib.parse.unquote(urllib.parse.urlparse(self.path).path), self.body()
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            made = json.loads(data)
            name = (made.get("organization") or "me") + "/" + made["name"]
            self.repositories.setdefault(name, {})
            return self.answer(200, {"url": f"{os.environ['HF_ENDPOINT']}/{name}", "id": name})
        name = "/".join(path.split("/")[3:5])
        if "/preupload/" in path:
            return self.answer(200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                                               for f in json.loads(data)["files"]]})
        if "/commit/" in path:
            for line in data.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.repositories[name][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            return self.answer(200, {"commitUrl": f"{os.environ['HF_ENDPOINT']}/{name}/commit/{COMMIT}", "commitOid": COMMIT,
                                     "success": True})
        self.answer(404, {"error": path})


class PullAndPush(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        os.environ.update(HF_ENDPOINT=f"http://127.0.0.1:{cls.server.server_port}", HF_HOME=str(cls.dir / "home"),
                          HF_TOKEN="hf_test", HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1", NIBBLE_LIBRARY=LIBRARY)
        os.environ.pop("HF_HUB_OFFLINE", None)
        sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bindings" / "python"))
        global nibble
        import nibble
        import nibble.hub

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.folder.cleanup()

    def test_pull(self):
        Hub.repositories["them/small"] = {f.name: f.read_bytes() for f in MODEL.iterdir() if f.is_file()}
        Hub.repositories["them/small"]["pytorch_model.bin"] = b"not wanted"
        path = nibble.hub.pull("them/small")
        self.assertFalse((pathlib.Path(path) / "pytorch_model.bin").exists())
        self.assertEqual(nibble.Checkpoint(path).inspect()["parameters"], nibble.Checkpoint(MODEL).inspect()["parameters"])
        with self.assertRaises(Exception) as caught:
            nibble.hub.pull("them/nothing")
        self.assertIn("nothing", str(caught.exception))

    def test_push_a_directory_and_pull_it_back(self):
        out = self.dir / "gptq"
        nibble.quantize(MODEL, out, "rtn:bits=4,group=64,sym=true", format="gptq")
        url = nibble.hub.push(out, "me/small-gptq")
        self.assertIn(COMMIT, url)
        self.assertEqual(set(Hub.repositories["me/small-gptq"]), {f.name for f in out.iterdir()})
        back = nibble.hub.pull("me/small-gptq", directory=self.dir / "back")
        self.assertEqual(nibble.Checkpoint(back).inspect(hash=True)["tensors"], nibble.Checkpoint(out).inspect(hash=True)["tensors"])

    def test_push_a_file(self):
        out = self.dir / "m.gguf"
        nibble.Checkpoint(MODEL).convert(out, format="gguf")
        nibble.hub.push(out, "me/small-gguf")
        self.assertEqual(Hub.repositories["me/small-gguf"]["m.gguf"], out.read_bytes())
        back = nibble.hub.pull("me/small-gguf", file="m.gguf")
        self.assertEqual(pathlib.Path(back).read_bytes(), out.read_bytes())
        with self.assertRaises(FileNotFoundError):
            nibble.hub.push(self.dir / "missing", "me/x")


if __name__ == "__main__":
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        print("SKIPPED:", error)
        sys.exit(77)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
