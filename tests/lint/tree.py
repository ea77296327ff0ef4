"""The files of the repository, as the lint scripts see them."""

import os
import subprocess

SKIPPED_FOLDERS = {".git", "build", ".cache", "__pycache__"}


def files(root):
    """Paths relative to root of the files under version control, or of all files where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True, check=True).stdout
        found = [os.fsdecode(name) for name in listed.split(b"\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, names in os.walk(root):
            folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS]
            found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return sorted(f for f in found if os.path.isfile(os.path.join(root, f)))


def text(root, path):
    """The file's text, or None when it is binary."""
    with open(os.path.join(root, path), "rb") as f:
        data = f.read()
    if b"\0" in data[:8192]:
        return None
    return data.decode("utf-8", errors="replace")


def report(name, problems):
    """Prints the problems; the exit status."""
    for problem in problems:
        print(problem)
    print(f"{name}: {len(problems)} problem(s)" if problems else f"{name}: ok")
    return 1 if problems else 0
