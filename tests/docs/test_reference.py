"""The reference that Doxygen makes of the header: no warning, every function described."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bindings" / "python"))

from generate_abi import Header  # noqa: E402


@unittest.skipUnless(shutil.which("doxygen"), "SKIPPED: doxygen is not installed")
class Reference(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(prefix="nibble-reference-")
        cls.addClassCleanup(scratch.cleanup)
        cls.out = pathlib.Path(scratch.name)
        settings = (ROOT / "docs/reference/Doxyfile").read_text() + f"\nOUTPUT_DIRECTORY = {cls.out}\n"
        cls.done = subprocess.run(["doxygen", "-"], input=settings, cwd=ROOT, capture_output=True, text=True, timeout=300)

    def test_no_warnings(self):
        self.assertEqual((self.done.returncode, self.done.stderr), (0, ""))
        self.assertTrue((self.out / "html" / "index.html").exists())

    def test_every_function_struct_and_constant_is_described(self):
        described = {}
        for path in (self.out / "xml").glob("*.xml"):
            for member in xml.etree.ElementTree.parse(path).iter("memberdef"):
                text = "".join("".join(member.find(kind).itertext()) for kind in ("briefdescription", "detaileddescription"))
                described[member.find("name").text] = " ".join(text.split())
        header = Header((ROOT / "include/nibble/nibble.h").read_text())
        names = [name for name, _, _ in header.functions + header.callbacks] + header.handles
        self.assertGreater(len(names), 100)
        for name in names:
            self.assertGreater(len(described.get(name, "")), 8, name)

    def test_sections_are_in_the_order_of_use(self):
        titles = [re.sub(r"^\d+\. ", "", xml.etree.ElementTree.parse(self.out / "xml" / f"group__section{n}.xml").find(".//title").text)
                  for n in range(1, 12)]
        self.assertEqual(titles[0], "Version and errors")
        self.assertEqual(titles[-1], "Quantized matrices on their own")


if __name__ == "__main__":
    unittest.main()
