#!/usr/bin/env python3
"""Makes the manual page and the completions for bash and zsh out of the command's own --help.

usage: help_pages.py NIBBLE FOLDER      writes FOLDER/nibble.1, nibble.bash and _nibble
"""
import os
import re
import subprocess
import sys


def text_of(command, *arguments):
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n").split("\n")


def sections(lines):
    """[(heading, [(name, explanation)])] and the lines before the first heading and after the last section."""
    before, found, after = [], [], []
    for line in lines:
        heading = re.match(r"^([A-Z][\w ]*):$", line)
        if heading:
            found.append((heading.group(1), []))
        elif not found:
            before.append(line)
        elif re.match(r"^  \S", line):
            entry = re.match(r"^  (\S.*?)(?:\s{2,}(\S.*))?$", line)
            found[-1][1].append([entry.group(1), entry.group(2) or ""])
        elif re.match(r"^\s{3,}\S", line) and found[-1][1]:
            found[-1][1][-1][1] = (found[-1][1][-1][1] + " " + line.strip()).strip()
        elif line.strip():
            after.append(line)
    return before, found, after


def commands_of(found):
    return next((entries for heading, entries in found if heading == "Subcommands"), [])


def options_of(found):
    """{--option: explanation}; where an option has a short name too, both lead to it."""
    names = {}
    for heading, entries in found:
        if heading in ("Subcommands", "Positionals"):
            continue
        for signature, explanation in entries:
            for name in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", signature.split(" ")[0]):
                names[name] = explanation
    return names


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return re.sub(r"^\.", "\\&.", text)


def manual(version, top, per_command):
    before, found, after = top
    out = [f'.TH NIBBLE 1 "" "nibble {version}" "User Commands"', ".SH NAME", f"nibble \\- {roff(before[0].removeprefix('nibble ').rstrip('.'))}",
           ".SH SYNOPSIS", ".B nibble", "[\\fIOPTIONS\\fR] \\fICOMMAND\\fR ...", ".SH DESCRIPTION"]
    out += [roff(line) for line in before[1:] if line.strip() and not line.startswith("Usage:")]
    for heading, entries in found:
        if heading == "Subcommands":
            continue
        out.append(f'.SH "{heading.upper()}"')
        for signature, explanation in entries:
            out += [".TP", f"\\fB{roff(signature)}\\fR", roff(explanation) or "\\&"]
    out.append(".SH COMMANDS")
    for name, (lines, sub, tail) in per_command.items():
        usage = next((line[len("Usage: "):] for line in lines if line.startswith("Usage:")), f"nibble {name}")
        out += [f'.SS "{name}"', roff(" ".join(x for x in lines if x.strip() and not x.startswith("Usage:"))), ".PP",
                f"\\fB{roff(usage)}\\fR"]
        for _, entries in sub:
            for signature, explanation in entries:
                if signature.startswith("-h,"):
                    continue
                out += [".TP", f"\\fB{roff(signature)}\\fR", roff(explanation) or "\\&"]
        tail = [line for line in tail if not line.startswith("Options of every command")]  # which this page has
        out += [".PP", *(roff(line) for line in tail)] if tail else []
    out += ['.SH "EXIT STATUS"', *(roff(line) for line in after)]
    return "\n".join(out) + "\n"


def bash(names, options, everywhere):
    cases = "\n".join(f"    {name}) words='{' '.join(sorted({*options[name], *everywhere}))}' ;;" for name in names)
    return f"""# bash completion for nibble
_nibble() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} command='' words i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in
    {'|'.join(names)}) command=${{COMP_WORDS[i]}}; break ;;
    esac
  done
  case $command in
    '') words='{' '.join([*names, *sorted(everywhere)])}' ;;
{cases}
  esac
  if [[ -z $command || $current == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _nibble nibble
"""


def zsh(commands, options, everywhere):
    def quoted(name, explanation):
        explanation = explanation.replace("'", "").replace("[", "(").replace("]", ")").replace(":", " ")
        return f"'{name}[{explanation}]'"

    listed = "\n".join(f"    '{name}:{explanation.replace(chr(39), '')}'" for name, explanation in commands)
    cases = "\n".join(
        f"    {name}) _arguments " + " ".join(quoted(*item) for item in sorted({**everywhere, **options[name]}.items())) +
        " '*:file:_files' ;;" for name, _ in commands)
    return f"""#compdef nibble
_nibble() {{
  local -a commands
  commands=(
{listed}
  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{cases}
  esac
}}
_nibble "$@"
"""


def main(nibble, folder):
    version = text_of(nibble, "--version")[-1].split()[-1]
    top = sections(text_of(nibble, "--help"))
    commands = [(name.split()[0], explanation) for name, explanation in commands_of(top[1])]
    if not commands:
        sys.exit("help_pages.py: --help lists no commands")
    per_command = {name: sections(text_of(nibble, name, "--help")) for name, _ in commands}
    options = {name: options_of(found) for name, (_, found, _) in per_command.items()}
    everywhere = options_of(top[1])
    os.makedirs(folder, exist_ok=True)
    for name, content in (("nibble.1", manual(version, top, per_command)),
                          ("nibble.bash", bash([name for name, _ in commands], options, everywhere)),
                          ("_nibble", zsh(commands, options, everywhere))):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
