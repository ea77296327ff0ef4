"""The code blocks of the documents."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

#: The first line of a block that is shown and not run, followed by the reason.
NOT_RUN = re.compile(r"^(?:#|//) not run by the tests: (.+)")


def documents():
    """Every page that people read."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


def all_blocks(document):
    """(language, content) of every fenced block, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```([^\n`]*)\n(.*?)^```$", text, flags=re.M | re.S)


def blocks(document, language):
    """The contents of the blocks of that language that are run, in order."""
    return [code for found, code in all_blocks(document) if found == language and not NOT_RUN.match(code)]
