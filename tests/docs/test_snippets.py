"""The code in the documents: compiled and run as a reader would."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from blocks import NOT_RUN, ROOT, all_blocks, blocks, documents

LIBRARY = pathlib.Path(os.environ.get("NIBBLE_LIBRARY", str(ROOT / "build" / "release" / "lib" / "libnibble.so")))
COMMAND = pathlib.Path(os.environ.get("NIBBLE_COMMAND", str(ROOT / "build" / "release" / "bin" / "nibble")))
CC, CXX = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")
# How many blocks are shown and not run. One more needs a reason better than that it does not work.
SHOWN_ONLY = 25


class Runner(unittest.TestCase):
    """Runs blocks in a directory that has examples/, like the source tree's top."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="nibble-docs-")
        self.addCleanup(scratch.cleanup)
        self.dir = pathlib.Path(scratch.name)
        (self.dir / "examples").symlink_to(ROOT / "examples")
        self.env = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}", "NIBBLE_LIBRARY": str(LIBRARY),
                    "PYTHONPATH": str(ROOT / "bindings" / "python"), "NIBBLE_SHARE": str(ROOT / "examples")}

    def run_here(self, *command, **options):
        done = subprocess.run(list(map(str, command)), cwd=self.dir, env=self.env, capture_output=True, text=True, timeout=600, **options)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def compile_and_run(self, language, code):
        if language == "cpp" and "nibble/nibble.hpp" not in code:  # a file of the library's own: it fits the layers as they are
            return self.run_here(CXX, "-std=c++20", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fsyntax-only", f"-I{ROOT}/src",
                                 f"-I{ROOT}", "-x", "c++", "-", input=code)
        compiler, standard = (CC, "c99") if language == "c" else (CXX, "c++20")
        (self.dir / f"program.{language}").write_text(code)
        self.run_here(compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{ROOT}/include",
                      f"program.{language}", f"-L{LIBRARY.parent}", "-lnibble", f"-Wl,-rpath,{LIBRARY.parent}", "-o", "program")
        return self.run_here("./program")

    def run_block(self, language, code):
        if language == "sh":
            return self.run_here("sh", "-eux", "-c", code)
        if language == "python":
            return self.run_here(sys.executable, "-B", "-c", code)
        return self.compile_and_run(language, code)

    def run_document(self, document):
        """Its blocks, one after the other in one directory. Returns what each printed."""
        return [(language, self.run_block(language, code)) for language, code in all_blocks(document)
                if language in ("sh", "python", "c", "cpp") and not NOT_RUN.match(code)]


class Readme(Runner):
    def test_all(self):
        printed = {}
        for language, output in self.run_document("README.md"):
            self.assertNotIn(language, printed, "one block a language")
            printed[language] = output
        self.assertIn("ok: every hash", printed["sh"])
        self.assertIn('"finish_reason": "length"', printed["c"])
        self.assertGreater(len(printed["cpp"].split()), 5)
        self.assertRegex(printed["python"], r"mean KL 0\.\d+ ± 0\.\d+ nats")

    def test_it_is_short(self):
        self.assertLess(len((ROOT / "README.md").read_text().splitlines()), 200)


class GettingStarted(Runner):
    def test_all(self):
        printed = self.run_document("docs/getting-started.md")
        self.assertGreaterEqual({language for language, _ in printed}, {"sh", "python", "c", "cpp"})
        for _, output in printed:
            self.assertTrue(output.strip())
        self.assertIn('"finish_reason": "length"', dict(printed)["c"])


class Guides(Runner):
    """Every other page."""

    def test_all(self):
        for document in documents():
            name = str(document.relative_to(ROOT))
            if name not in ("README.md", "docs/getting-started.md") and "docs/methods/" not in name:
                with self.subTest(name):
                    self.run_document(name)


class Methods(Runner):
    """The page of each method: its command is run, and names the method."""

    def test_all(self):
        for document in sorted((ROOT / "docs" / "methods").glob("*.md")):
            with self.subTest(document.name):
                self.assertTrue(any(document.stem in code for code in blocks(document, "sh")), "shows how to use it")
                self.run_document(document)


class Pages(unittest.TestCase):
    def test_every_block_is_run_or_says_why_not(self):
        shown = []
        for document in documents():
            for language, code in all_blocks(document):
                self.assertIn(language, ("sh", "python", "c", "cpp", "text"), f"{document.name}: what is a '{language}' block?")
                if NOT_RUN.match(code):
                    shown.append(f"{document.relative_to(ROOT)}: {NOT_RUN.match(code).group(1)}")
                elif language == "text":  # output, pictures, lines of a file: no commands
                    self.assertNotRegex(code, r"(?m)^(\$ |nibble (info|inspect|quantize|convert|run|chat|eval|compare|sweep|bench) |python3? |cmake |cc |tests/|examples/\w+\.sh)", document.name)
            prose = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
            self.assertNotRegex(prose, r"(?m)^    (nibble|python3?|cmake|ctest|bench/|tests/|examples/)\b", f"{document.name}: an unfenced command")
        self.assertEqual(len(shown), SHOWN_ONLY, "\n".join(shown))

    def test_every_link_leads_somewhere(self):
        for document in documents():
            prose = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
            for target in re.findall(r"\]\(([^)#]+)\)", prose):
                if "://" not in target:
                    self.assertTrue((document.parent / target).exists(), f"{document.name}: {target}")


if __name__ == "__main__":
    unittest.main()
