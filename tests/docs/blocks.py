"""The code blocks of a Markdown file."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def blocks(document, language):
    """The contents of the fenced blocks of that language, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, flags=re.M | re.S)
