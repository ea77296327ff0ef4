"""The manual page and the shells' completions, which are made of --help: complete, without warnings, and used as the shells use them."""
import re
import shutil
import subprocess
import sys
import unittest

from support import NIBBLE, ROOT, Case, nibble


class HelpPages(Case):
    def setUp(self):
        super().setUp()
        subprocess.run([sys.executable, "-B", ROOT / "scripts" / "help_pages.py", NIBBLE, self.dir], check=True)
        self.commands = re.findall(r"^  ([a-z]+) ", nibble("--help")[1].split("Subcommands:")[1], re.M)

    def test_manual_has_everything(self):
        page = (self.dir / "nibble.1").read_text().replace("\\-", "-")
        self.assertGreater(len(self.commands), 10)
        for command in self.commands:
            self.assertIn(f'.SS "{command}"', page)
            for option in re.findall(r"^  (?:-\w,)?(--[\w-]+)", nibble(command, "--help")[1], re.M):
                self.assertIn(option, page, command)

    @unittest.skipUnless(shutil.which("man") and shutil.which("groff"), "SKIPPED: man or groff is not installed")
    def test_manual_is_shown_without_warnings(self):
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", self.dir / "nibble.1"], capture_output=True, text=True,
                              env={"PATH": "/usr/bin:/bin", "MANWIDTH": "120", "LC_ALL": "C.UTF-8"})
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        text = re.sub(r".\x08", "", done.stdout)
        for word in ("NAME", "SYNOPSIS", "COMMANDS", "EXIT STATUS", "--group-size", "perplexity"):
            self.assertIn(word, text)

    def completed_by_bash(self, *words):
        script = f"""source '{self.dir}/nibble.bash'
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _nibble; printf '%s\\n' "${{COMPREPLY[@]}}\""""
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", *words], capture_output=True, text=True, cwd=self.dir)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def test_bash(self):
        self.assertEqual(self.completed_by_bash("nibble", "quan"), ["quantize"])
        self.assertLessEqual(set(self.commands), set(self.completed_by_bash("nibble", "")))
        self.assertEqual(self.completed_by_bash("nibble", "quantize", "--group"), ["--group-size"])
        self.assertIn("--threads", self.completed_by_bash("nibble", "run", "model", "--t"))
        self.assertNotIn("--group-size", self.completed_by_bash("nibble", "run", "--"))
        self.assertEqual(self.completed_by_bash("nibble", "inspect", "_nib"), ["_nibble"])
        self.assertEqual(self.completed_by_bash("nibble", "--quiet", "insp"), ["inspect"])
        for command in self.commands:
            options = set(re.findall(r"^  (?:-\w,)?(--[\w-]+)", nibble(command, "--help")[1], re.M))
            self.assertLessEqual(options, set(self.completed_by_bash("nibble", command, "--")), command)

    @unittest.skipUnless(shutil.which("zsh"), "SKIPPED: zsh is not installed")
    def test_zsh(self):
        subprocess.run(["zsh", "-f", "-n", self.dir / "_nibble"], check=True)
        self.assertIn("quantize", self.completed_by_zsh("nibble quan"))
        self.assertIn("--group-size", self.completed_by_zsh("nibble quantize --group"))
        self.assertIn("--temperature", self.completed_by_zsh("nibble run --temper"))

    def completed_by_zsh(self, line):
        """What the line has become after a tab, in a shell of its own on a pseudo terminal."""
        functions = self.dir / "functions"
        functions.mkdir(exist_ok=True)
        shutil.copy(self.dir / "_nibble", functions)
        script = self.dir / "drive"
        script.write_text(f"""zmodload zsh/zpty
zpty shell zsh -f -i
read_all() {{ local piece; repeat 50 {{ zpty -r -t shell piece && print -rn -- $piece; sleep 0.02 }} }}
zpty -w shell "fpath=('{functions}' \\$fpath); autoload -U compinit; compinit -u -D; setopt no_list_beep; PS1='> '; echo re''ady"
while zpty -r shell piece; do [[ $piece == *ready* ]] && break; done
zpty -w -n shell "{line}"$'\\t'
sleep 1
read_all
zpty -d shell
""")
        done = subprocess.run(["zsh", "-f", script], capture_output=True, text=True, timeout=60)
        return re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", done.stdout)


if __name__ == "__main__":
    unittest.main()
