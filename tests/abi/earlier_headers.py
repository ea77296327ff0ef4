#!/usr/bin/env python3
"""Programs compiled against earlier headers, linked with today's library and run.

usage: earlier_headers.py SOURCE LIBRARY CC
"""
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bindings" / "python"))

from generate_abi import Header  # noqa: E402


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def every_function(header):
    """A program that takes the address of every function: all of them must still be there, under their version."""
    names = [name for name, _, _ in Header(header.read_text()).functions]
    taken = ", ".join(f"(any){name}" for name in names)
    return (f'#include "{header}"\ntypedef void (*any)(void);\nstatic any volatile all[] = {{{taken}}};\n'
            f"int main(void) {{ return all[0] != 0 && sizeof all / sizeof *all == {len(names)} ? 0 : 1; }}\n"), len(names)


def main(source, library, cc):
    source, library = pathlib.Path(source), pathlib.Path(library)
    today = Header((source / "include" / "nibble" / "nibble.h").read_text())
    headers = sorted((HERE / "headers").glob("*.h"))
    if len(headers) < 6:
        sys.exit("the earlier headers are missing")
    link = [f"-L{library.parent}", "-lnibble", f"-Wl,-rpath,{library.parent}", "-lm"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for header in headers:
            earlier = Header(header.read_text())
            for name, value in earlier.constants:
                if (name, value) not in today.constants:
                    sys.exit(f"{header.name}: the constant {name} was {value}, and is not any more")
            for name, fields in earlier.structs:
                now = dict(today.structs)[name]
                if now[:len(fields)] != fields:
                    sys.exit(f"{header.name}: struct {name} no longer begins with the fields that it had")
            text, count = every_function(header)
            (folder / "every.c").write_text(text)
            run(cc, "-std=c99", folder / "every.c", "-o", folder / "every", *link)
            run(folder / "every")
            run(cc, "-std=c99", "-Wall", "-Wextra", "-Werror", f'-DNIBBLE_HEADER="{header}"', HERE / "earlier_client.c", "-o",
                folder / "client", *link)
            output = run(folder / "client", source / "examples" / "models" / "prose-3.7m", folder / "q.safetensors")
            if output != "ok\n":
                sys.exit(f"{header.name}: {output}")
            print(f"{header.name}: {count} functions, runs")


if __name__ == "__main__":
    main(*sys.argv[1:])
