"""The code in the documents: compiled and run as a reader would."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from blocks import ROOT, blocks

LIBRARY = pathlib.Path(os.environ.get("NIBBLE_LIBRARY", str(ROOT / "build" / "release" / "lib" / "libnibble.so")))
COMMAND = pathlib.Path(os.environ.get("NIBBLE_COMMAND", str(ROOT / "build" / "release" / "bin" / "nibble")))
CC, CXX = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")


class Readme(unittest.TestCase):
    """In a directory that has examples/, like the source tree's top."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="nibble-docs-")
        self.addCleanup(scratch.cleanup)
        self.dir = pathlib.Path(scratch.name)
        (self.dir / "examples").symlink_to(ROOT / "examples")
        self.env = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}", "NIBBLE_LIBRARY": str(LIBRARY),
                    "PYTHONPATH": str(ROOT / "bindings" / "python"), "NIBBLE_SHARE": str(ROOT / "examples")}

    def run_here(self, *command):
        done = subprocess.run(list(map(str, command)), cwd=self.dir, env=self.env, capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def compile_and_run(self, language, compiler, standard):
        found = blocks("README.md", language)
        self.assertEqual(len(found), 1)
        (self.dir / f"program.{language}").write_text(found[0])
        self.run_here(compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{ROOT}/include",
                      f"program.{language}", f"-L{LIBRARY.parent}", "-lnibble", f"-Wl,-rpath,{LIBRARY.parent}", "-o", "program")
        return self.run_here("./program")

    def test_c(self):
        self.assertIn('"finish_reason": "length"', self.compile_and_run("c", CC, "c99"))

    def test_cpp(self):
        self.assertGreater(len(self.compile_and_run("cpp", CXX, "c++20").split()), 5)

    def test_python(self):
        found = blocks("README.md", "python")
        self.assertEqual(len(found), 1)
        (self.dir / "program.py").write_text(found[0])
        self.assertRegex(self.run_here(sys.executable, "-B", "program.py"), r"mean KL 0\.\d+ ± 0\.\d+ nats")

    def test_shell(self):
        found = blocks("README.md", "sh")
        self.assertEqual(len(found), 1)
        out = self.run_here("sh", "-eux", "-c", found[0])
        self.assertIn("ok: every hash", out)

    def test_every_link_leads_somewhere(self):
        for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
            prose = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
            for target in re.findall(r"\]\(([^)#]+)\)", prose):
                if "://" not in target:
                    self.assertTrue((document.parent / target).exists(), f"{document.name}: {target}")


class GettingStarted(Readme):
    """Its blocks follow one another in one directory."""

    test_c = test_cpp = test_every_link_leads_somewhere = None

    def test_python(self):
        for code in blocks("docs/getting-started.md", "python"):
            self.assertGreater(len(self.run_here(sys.executable, "-B", "-c", code).split()), 5)

    def test_shell(self):
        found = blocks("docs/getting-started.md", "sh")
        self.assertGreater(len(found), 3)
        for code in found:
            self.run_here("sh", "-eux", "-c", code)


class Guides(unittest.TestCase):
    """The files that the guides show compile against the layers as they are."""

    def test_cpp(self):
        for document in ("docs/adding-a-method.md", "docs/adding-an-architecture.md"):
            for code in blocks(document, "cpp"):
                done = subprocess.run([CXX, "-std=c++20", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only", f"-I{ROOT}/src",
                                       f"-I{ROOT}", "-x", "c++", "-"], input=code, capture_output=True, text=True, timeout=300)
                self.assertEqual(done.returncode, 0, f"{document}\n{done.stderr}")


if __name__ == "__main__":
    unittest.main()
