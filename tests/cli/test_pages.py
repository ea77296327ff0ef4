"""The HTML reports in headless Chromium: nothing wider than the screen, phone or desktop, light or dark, and text one can read."""
import json
import os
import re
import shutil
import subprocess
import unittest

from support import Case
from test_evaluation import questions

CHROMIUM = os.environ.get("NIBBLE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# The page in a frame as wide as a screen. Contrast by WCAG: relative luminances of a text's colour and of what lies behind it.
PROBE = """<!doctype html><body style="margin:0"><iframe id="f" style="width:{width}px;height:900px;border:0"></iframe><pre id="r"></pre><script>
const page = {page};
const frame = document.getElementById("f");
frame.onload = () => {{
  const d = frame.contentDocument, wide = [], faint = [];
  for (const e of d.querySelectorAll("body *")) {{
    const box = e.getBoundingClientRect();
    if (box.right > {width} + 1 && !e.closest(".wide") && !e.closest("svg") && !e.closest("details:not([open]) > :not(summary)"))
      wide.push(e.tagName + " " + Math.round(box.right));
  }}
  const rgb = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {{
    const layers = [];
    for (; e; e = e.parentElement) {{ const c = rgb(frame.contentWindow.getComputedStyle(e).backgroundColor); if (c.length) layers.push(c); }}
    let under = frame.contentWindow.matchMedia("(prefers-color-scheme:dark)").matches ? [0, 0, 0] : [255, 255, 255];
    for (const c of layers.reverse()) {{ const a = c.length > 3 ? c[3] : 1; under = under.map((u, i) => a * c[i] + (1 - a) * u); }}
    return under;
  }};
  for (const e of d.querySelectorAll("body *")) {{
    if (e.closest("svg title")) continue;  // a tooltip, in the browser's own colours
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const style = frame.contentWindow.getComputedStyle(e), fore = light(rgb(e.closest("svg") ? style.fill : style.color)), back = light(behind(e));
    const ratio = (Math.max(fore, back) + 0.05) / (Math.min(fore, back) + 0.05);
    if (ratio < 4.5) faint.push(e.tagName + " " + e.textContent.slice(0, 20) + " " + ratio.toFixed(2));
  }}
  const overlaps = [];
  for (const svg of d.querySelectorAll("svg")) {{
    const boxes = [...svg.querySelectorAll("text")].map(t => [t, t.getBBox()]), view = svg.viewBox.baseVal;
    for (const [t, b] of boxes) if (!t.getAttribute("transform") && (b.x < -1 || b.x + b.width > view.width + 1)) overlaps.push("outside: " + t.textContent);
  }}
  document.getElementById("r").textContent = "RESULT" + JSON.stringify({{dark: frame.contentWindow.matchMedia("(prefers-color-scheme:dark)").matches,
    scroll: d.documentElement.scrollWidth, wide: wide.slice(0, 5), faint: faint.slice(0, 5), outside: overlaps.slice(0, 5), texts: d.body.textContent.length}}) + "END";
}};
frame.srcdoc = page;
</script>"""


@unittest.skipUnless(CHROMIUM, "there is no Chromium: the reports' layout is not checked")
class Pages(Case):
    def probe(self, page, width, dark):
        file = self.dir / f"probe-{width}-{dark}.html"
        file.write_text(PROBE.format(width=width, page=json.dumps(page.read_text()).replace("</", "<\\/")))
        done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={self.dir / 'profile'}",
                               "--window-size=1600,1000", "--virtual-time-budget=4000", *(["--force-dark-mode"] if dark else []), "--dump-dom",
                               file.as_uri()], capture_output=True, text=True, timeout=120)
        found = re.search(r"RESULT(\{.*?\})END", done.stdout, re.S)
        self.assertIsNotNone(found, done.stderr[-1000:])
        text = found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        return json.loads(text)

    def check(self, page):
        for width in (390, 1440):
            for dark in (False, True):
                with self.subTest(page=page.name, width=width, dark=dark):
                    r = self.probe(page, width, dark)
                    self.assertEqual(r["dark"], dark)
                    self.assertGreater(r["texts"], 500)
                    self.assertLessEqual(r["scroll"], width)
                    self.assertEqual((r["wide"], r["faint"], r["outside"]), ([], [], []))

    def test_reports_fit_their_screens(self):
        evaluated, swept, folder = self.dir / "eval.html", self.dir / "sweep.html", self.dir / "models"
        tasks = questions(self.dir / "a_task_with_quite_a_long_name.jsonl", 30)
        recipes = ["rtn:bits=8,group=128", "rtn:bits=4,group=128", "nf4:block=64", "rtn:bits=3,group=64", "rtn:bits=2,group=32"]
        self.accept("sweep", "builtin", "--recipes", ",".join(recipes), "--windows", "2", "--tasks", tasks, "--limit", "10", "--reps", "1",
                    "--html", swept, "-o", folder, "-p", "The ship")
        candidates = sorted(folder.glob("*.safetensors"))
        self.accept("eval", "builtin", candidates[0], candidates[-1], "--tasks", tasks, "--html", evaluated)
        self.assertIn("<details>", evaluated.read_text())
        for page in (evaluated, swept):
            if os.environ.get("NIBBLE_KEEP_PAGES"):
                shutil.copy(page, os.environ["NIBBLE_KEEP_PAGES"])
            self.check(page)


if __name__ == "__main__":
    unittest.main()
